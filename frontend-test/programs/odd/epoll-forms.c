// kind: epoll_pwait2 and the errors of epoll_create, epoll_ctl and epoll_wait
#define PEER
#include "odd.h"

static void odd(void) {
    int fd = taken(), set = epoll_create(1), inner = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 7}, ready[4];
    struct timespec none = {0, 0}, soon = {0, 20000000}, wrong = {0, -1};
    SHOW(epoll_create(0));
    SHOW(epoll_create1(1));
    SHOW(epoll_ctl(set, EPOLL_CTL_MOD, fd, &event));
    SHOW(epoll_ctl(set, EPOLL_CTL_DEL, fd, &event));
    SHOW(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    SHOW(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    SHOW(epoll_ctl(set, EPOLL_CTL_ADD, set, &event));
    SHOW(epoll_ctl(set, 9, fd, &event));
    SHOW(epoll_ctl(set, EPOLL_CTL_ADD, 900, &event));
    SHOW(epoll_ctl(fd, EPOLL_CTL_ADD, set, &event));
    SHOW(epoll_ctl(set, EPOLL_CTL_ADD, inner, &event));
    SHOW(epoll_ctl(inner, EPOLL_CTL_ADD, set, &event));
    int file = memfd_create("file", MFD_CLOEXEC);
    SHOW(epoll_ctl(set, EPOLL_CTL_ADD, file, &event));
    event.events = EPOLLIN | EPOLLEXCLUSIVE;
    SHOW(epoll_ctl(set, EPOLL_CTL_MOD, fd, &event));
    SHOW(epoll_wait(set, ready, 0, 0));
    volatile int none_at_all = -1;
    SHOW(epoll_wait(set, ready, none_at_all, 0));
    SHOW(epoll_wait(fd, ready, 4, 0));
    SHOW(epoll_wait(900, ready, 4, 0));
    SHOW(epoll_pwait2(set, ready, 4, &none, NULL));
    SHOW(epoll_pwait2(set, ready, 4, &soon, NULL));
    SHOW(epoll_pwait2(set, ready, 4, &wrong, NULL));
    put(fd, "+");
    SHOW(epoll_pwait2(set, ready, 4, NULL, NULL));
    say("%d %d\n", (int)ready[0].events, (int)ready[0].data.u64);
    event.events = EPOLLOUT;
    event.data.u64 = 8;
    SHOW(epoll_ctl(set, EPOLL_CTL_MOD, fd, &event));
    SHOW(epoll_wait(set, ready, 4, 0));
    say("%d %d\n", (int)ready[0].events, (int)ready[0].data.u64);
    event.events = 0;
    SHOW(epoll_ctl(set, EPOLL_CTL_MOD, fd, &event));
    SHOW(epoll_wait(set, ready, 4, 0));
    SHOW(epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL));
    close(fd);
}

static void peer(void) { answer_sign(dial(), "x"); }
