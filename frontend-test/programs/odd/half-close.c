// kind: the peer ends its side: RDHUP, EOF, still writable
#define PEER
#include "odd.h"

static void odd(void) {
    char bytes[8];
    int fd = taken(), set = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLRDHUP};
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
    SHOW(epoll_wait(set, &event, 1, 5000));
    say("rdhup %d hup %d\n", !!(event.events & EPOLLRDHUP), !!(event.events & EPOLLHUP));
    struct pollfd wanted = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    SHOW(poll(&wanted, 1, 1000));
    say("in %d out %d rdhup %d\n", !!(wanted.revents & POLLIN), !!(wanted.revents & POLLOUT),
        !!(wanted.revents & POLLRDHUP));
    SHOW(read(fd, bytes, 8));
    SHOW(read(fd, bytes, 8));
    put(fd, "late answer");
    close(fd);
}

static void peer(void) {
    int fd = dial();
    put(fd, "abc");
    shutdown(fd, SHUT_WR);
    MUST(drain(fd) == 11);
}
