// kind: a self-pipe written by SIGALRM's handler wakes epoll_wait
#include "odd.h"

static int ends[2];

static void wake(int number) { MUST(write(ends[1], "x", 1) == 1); }

static void odd(void) {
    MUST(pipe(ends) == 0);
    int set = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 42};
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event) == 0);
    handle(SIGALRM, wake, 0);
    alarm_in(50);
    SHOW(epoll_wait(set, &event, 1, 5000));
    SHOW(epoll_wait(set, &event, 1, 5000));
    say("%u %x\n", event.data.u32, event.events);
}
