// kind: EINTR of waiting calls, by alarm
#include "odd.h"

static volatile sig_atomic_t seen;

static void count(int number) { seen++; }

static void odd(void) {
    int ends[2];
    char byte;
    MUST(pipe(ends) == 0);
    handle(SIGALRM, count, 0);
    struct pollfd wanted = {ends[0], POLLIN, 0};
    alarm_in(30);
    SHOW(read(ends[0], &byte, 1));
    alarm_in(30);
    SHOW(poll(&wanted, 1, -1));
    alarm_in(30);
    SHOW(ppoll(&wanted, 1, NULL, NULL));
    alarm_in(30);
    SHOW(accept(listener, NULL, NULL));
    int set = epoll_create1(0);
    alarm_in(30);
    struct epoll_event event;
    SHOW(epoll_wait(set, &event, 1, -1));
    alarm_in(30);
    SHOW(pause());
    alarm_in(30);
    struct timespec second = {5, 0};
    SHOW(nanosleep(&second, NULL));
    say("%d\n", (int)seen);
}
