// kind: timerfd in read, poll and epoll
#include "odd.h"
#include <sys/timerfd.h>

static void odd(void) {
    uint64_t times;
    struct itimerspec once = {.it_value = {0, 30000000}};
    struct epoll_event event = {.events = EPOLLIN};
    int fd = timerfd_create(CLOCK_MONOTONIC, 0), set = epoll_create1(0);
    struct pollfd wanted = {fd, POLLIN, 0};
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
    SHOW(timerfd_settime(fd, 0, &once, NULL));
    SHOW(read(fd, &times, sizeof times));
    say("%d\n", (int)times);
    SHOW(timerfd_settime(fd, 0, &once, NULL));
    SHOW(poll(&wanted, 1, 5000));
    SHOW(read(fd, &times, sizeof times));
    SHOW(timerfd_settime(fd, 0, &once, NULL));
    SHOW(epoll_wait(set, &event, 1, 5000));
    SHOW(fcntl(fd, F_SETFL, O_NONBLOCK));
    SHOW(read(fd, &times, sizeof times));
    SHOW(read(fd, &times, sizeof times));
}
