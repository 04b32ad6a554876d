// kind: sem_timedwait and sigtimedwait end with EINTR by alarm
#include "odd.h"

static void nothing(int number) {}

static void odd(void) {
    sem_t never;
    sigset_t set;
    struct timespec limit;
    MUST(sem_init(&never, 0, 0) == 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    handle(SIGALRM, nothing, 0);
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 5;
    alarm_in(50);
    SHOW(sem_timedwait(&never, &limit));
    alarm_in(50);
    SHOW(sigtimedwait(&set, NULL, &(struct timespec){5, 0}));
}
