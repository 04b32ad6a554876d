// kind: pthread_rwlock_clock*, pthread_clockjoin_np and clocklock with past, near and wrong times
#include "odd.h"

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static sem_t finish;

static void *hold(void *argument) {
    pthread_rwlock_wrlock(&lock);
    pthread_mutex_lock(&mutex);
    sem_post(argument);
    sem_wait(&finish);
    pthread_mutex_unlock(&mutex);
    pthread_rwlock_unlock(&lock);
    return argument;
}

static void odd(void) {
    clockid_t ids[] = {CLOCK_REALTIME, CLOCK_MONOTONIC};
    pthread_t thread;
    sem_t held;
    void *result = NULL;
    sem_init(&held, 0, 0);
    sem_init(&finish, 0, 0);
    start(&thread, hold, &held);
    sem_wait(&held);
    for (int i = 0; i < 2; i++) {
        struct timespec past = in(ids[i], -1000), near = in(ids[i], 20);
        struct timespec wrong = {near.tv_sec, 1000000000};
        CODE(pthread_rwlock_clockrdlock(&lock, ids[i], &past));
        CODE(pthread_rwlock_clockrdlock(&lock, ids[i], &near));
        CODE(pthread_rwlock_clockwrlock(&lock, ids[i], &near));
        CODE(pthread_rwlock_clockwrlock(&lock, ids[i], &wrong));
        CODE(pthread_mutex_clocklock(&mutex, ids[i], &past));
        CODE(pthread_mutex_clocklock(&mutex, ids[i], &wrong));
        near = in(ids[i], 20);
        CODE(pthread_clockjoin_np(thread, &result, ids[i], &near));
        CODE(pthread_clockjoin_np(thread, &result, ids[i], &past));
    }
    struct timespec near = in(CLOCK_MONOTONIC, 20);
    CODE(pthread_rwlock_clockrdlock(&lock, CLOCK_PROCESS_CPUTIME_ID, &near));
    CODE(pthread_mutex_clocklock(&mutex, CLOCK_BOOTTIME, &near));
    CODE(pthread_tryjoin_np(thread, &result));
    SHOW(sem_clockwait(&held, CLOCK_TAI, &near));
    sem_post(&finish);
    near = in(CLOCK_MONOTONIC, 5000);
    CODE(pthread_clockjoin_np(thread, &result, CLOCK_MONOTONIC, &near));
    say("%d\n", result == &held);
    near = in(CLOCK_REALTIME, -1000);
    CODE(pthread_rwlock_clockrdlock(&lock, CLOCK_REALTIME, &near));
    CODE(pthread_rwlock_clockwrlock(&lock, CLOCK_REALTIME, &near));
    CODE(pthread_rwlock_unlock(&lock));
    CODE(pthread_mutex_clocklock(&mutex, CLOCK_REALTIME, &near));
}
