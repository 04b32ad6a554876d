// kind: rwlocks: shared readers, one writer, try, timed, errors
#include "odd.h"

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static long value;
static volatile int inside;

static void *write_some(void *argument) {
    for (int i = 0; i < 1000; i++) {
        pthread_rwlock_wrlock(&lock);
        value++;
        pthread_rwlock_unlock(&lock);
    }
    return argument;
}

static void *hold(void *argument) {
    pthread_rwlock_rdlock(&lock);
    inside = 1;
    while (inside == 1) usleep(1000);
    pthread_rwlock_unlock(&lock);
    return argument;
}

static void odd(void) {
    pthread_t threads[4], reader;
    struct timespec limit;
    for (int i = 0; i < 4; i++) start(&threads[i], write_some, NULL);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    say("%ld\n", value);
    start(&reader, hold, NULL);
    while (!inside) usleep(1000);
    CODE(pthread_rwlock_tryrdlock(&lock));
    CODE(pthread_rwlock_trywrlock(&lock));
    CODE(pthread_rwlock_unlock(&lock));
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_nsec += 20000000;
    if (limit.tv_nsec >= 1000000000) limit.tv_sec++, limit.tv_nsec -= 1000000000;
    CODE(pthread_rwlock_timedwrlock(&lock, &limit));
    CODE(pthread_rwlock_timedrdlock(&lock, &limit));
    CODE(pthread_rwlock_unlock(&lock));
    clock_gettime(CLOCK_MONOTONIC, &limit);
    CODE(pthread_rwlock_clockwrlock(&lock, CLOCK_MONOTONIC, &limit));
    inside = 2;
    pthread_join(reader, NULL);
    CODE(pthread_rwlock_wrlock(&lock));
    CODE(pthread_rwlock_rdlock(&lock));
    CODE(pthread_rwlock_trywrlock(&lock));
    CODE(pthread_rwlock_unlock(&lock));
}
