// kind: poll, select and epoll with closed, negative and bad descriptors
#define PEER
#include "odd.h"

static void odd(void) {
    int fd = taken(), set = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 1};
    struct pollfd wanted[] = {{fd, POLLIN, 0}, {-1, POLLIN, 9}, {1000, POLLIN, 0}};
    SHOW(poll(wanted, 3, 0));
    say("%x %x %x\n", wanted[0].revents, wanted[1].revents, wanted[2].revents);
    SHOW(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    SHOW(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    SHOW(epoll_ctl(set, EPOLL_CTL_MOD, listener, &event));
    SHOW(epoll_ctl(set, EPOLL_CTL_DEL, listener, NULL));
    SHOW(epoll_ctl(set, EPOLL_CTL_ADD, 1000, &event));
    SHOW(epoll_ctl(set, EPOLL_CTL_ADD, set, &event));
    SHOW(epoll_ctl(fd, EPOLL_CTL_ADD, listener, &event));
    SHOW(epoll_ctl(set, EPOLL_CTL_ADD, open("/dev/null", O_RDONLY), &event));
    SHOW(epoll_wait(set, &event, 0, 0));
    SHOW(epoll_wait(set, &event, 1, 0));
    SHOW(close(fd));
    SHOW(epoll_wait(set, &event, 1, 20));
    wanted[0].revents = 0;
    SHOW(poll(wanted, 1, 0));
    say("%x\n", wanted[0].revents);
    fd_set bits;
    FD_ZERO(&bits);
    FD_SET(fd, &bits);
    SHOW(select(fd + 1, &bits, NULL, NULL, &(struct timeval){0, 0}));
    SHOW(poll(NULL, 0, 20));
    SHOW(select(0, NULL, NULL, NULL, &(struct timeval){0, 20000}));
    SHOW(select(-1, NULL, NULL, NULL, &(struct timeval){0, 0}));
    SHOW(epoll_wait(1000, &event, 1, 0));
}

static void peer(void) {
    int fd = dial();
    drain(fd);
}
