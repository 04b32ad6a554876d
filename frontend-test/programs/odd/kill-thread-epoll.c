// kind: a thread's pipe write from a pthread_kill handler wakes epoll_wait of another
#include "odd.h"

static int ends[2];

static void wake(int number) { MUST(write(ends[1], "x", 1) == 1); }

static void *sleep_here(void *argument) {
    sleep(5);
    return argument;
}

static void *signal_it(void *argument) {
    usleep(100000);
    MUST(pthread_kill(*(pthread_t *)argument, SIGUSR1) == 0);
    return argument;
}

static void odd(void) {
    pthread_t sleeper, sender;
    struct epoll_event event = {.events = EPOLLIN};
    int set = epoll_create1(0);
    MUST(pipe(ends) == 0 && epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event) == 0);
    handle(SIGUSR1, wake, 0);
    start(&sleeper, sleep_here, NULL);
    start(&sender, signal_it, &sleeper);
    SHOW(epoll_wait(set, &event, 1, 10000));
    pthread_join(sleeper, NULL);
    pthread_join(sender, NULL);
}
