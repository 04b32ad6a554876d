// kind: a semaphore posted by SIGALRM's handler ends sem_wait
#include "odd.h"

static sem_t ready;

static void wake(int number) { sem_post(&ready); }

static void odd(void) {
    MUST(sem_init(&ready, 0, 0) == 0);
    handle(SIGALRM, wake, SA_RESTART);
    alarm_in(50);
    SHOW(sem_wait(&ready));
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 5;
    alarm_in(50);
    SHOW(sem_timedwait(&ready, &limit));
    int value;
    SHOW(sem_getvalue(&ready, &value));
    say("%d\n", value);
}
