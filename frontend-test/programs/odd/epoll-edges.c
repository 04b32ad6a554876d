// kind: EPOLLET, EPOLLONESHOT, EPOLLEXCLUSIVE, an epoll in an epoll
#define PEER
#include "odd.h"

static void odd(void) {
    char byte;
    int fd = taken(), set = epoll_create1(EPOLL_CLOEXEC), outer = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 77};
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
    SHOW(epoll_wait(set, &event, 1, 5000));
    say("%d\n", (int)event.data.u64);
    SHOW(epoll_wait(set, &event, 1, 20));
    SHOW(read(fd, &byte, 1));
    put(fd, "+");
    SHOW(epoll_wait(set, &event, 1, 5000));
    event.events = EPOLLIN | EPOLLONESHOT;
    SHOW(epoll_ctl(set, EPOLL_CTL_MOD, fd, &event));
    SHOW(epoll_wait(set, &event, 1, 5000));
    SHOW(epoll_wait(set, &event, 1, 20));
    event.events = EPOLLIN;
    SHOW(epoll_ctl(set, EPOLL_CTL_MOD, fd, &event));
    SHOW(epoll_ctl(outer, EPOLL_CTL_ADD, set, &event));
    SHOW(epoll_wait(outer, &event, 1, 5000));
    event.events = EPOLLIN | EPOLLEXCLUSIVE;
    SHOW(epoll_ctl(set, EPOLL_CTL_ADD, listener, &event));
    struct pollfd wanted = {set, POLLIN, 0};
    SHOW(poll(&wanted, 1, 1000));
    close(fd);
    SHOW(poll(&wanted, 1, 20));
}

static void peer(void) {
    int fd = dial();
    put(fd, "x");
    await_sign(fd);
    put(fd, "y");
    drain(fd);
}
