// kind: timed waits with CLOCK_MONOTONIC and with times that have passed
#include "odd.h"

static void odd(void) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t changed;
    pthread_condattr_t attributes;
    sem_t never;
    struct timespec at = in(CLOCK_MONOTONIC, 20);
    pthread_condattr_init(&attributes);
    CODE(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC));
    pthread_cond_init(&changed, &attributes);
    sem_init(&never, 0, 0);
    pthread_mutex_lock(&lock);
    CODE(pthread_cond_timedwait(&changed, &lock, &at));
    struct timespec after = in(CLOCK_MONOTONIC, 0);
    say("late enough %d\n", after.tv_sec > at.tv_sec ||
        (after.tv_sec == at.tv_sec && after.tv_nsec >= at.tv_nsec));
    at = in(CLOCK_MONOTONIC, -1000);
    CODE(pthread_cond_timedwait(&changed, &lock, &at));
    at.tv_nsec = -1;
    CODE(pthread_cond_timedwait(&changed, &lock, &at));
    at = in(CLOCK_REALTIME, 20);
    CODE(pthread_cond_clockwait(&changed, &lock, CLOCK_REALTIME, &at));
    SHOW(sem_timedwait(&never, &at));
    at = in(CLOCK_MONOTONIC, 20);
    SHOW(sem_clockwait(&never, CLOCK_MONOTONIC, &at));
    SHOW(sem_trywait(&never));
    pthread_mutex_unlock(&lock);
    pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&held);
    at = in(CLOCK_MONOTONIC, 20);
    CODE(pthread_mutex_clocklock(&held, CLOCK_MONOTONIC, &at));
}
