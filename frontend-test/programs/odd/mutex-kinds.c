// kind: recursive, error-checking and normal mutexes, priorities, try and timed
#include "odd.h"

static pthread_mutex_t lock;

static void *try_it(void *argument) {
    CODE(pthread_mutex_trylock(&lock));
    CODE(pthread_mutex_unlock(&lock));
    return argument;
}

static void of_kind(int kind) {
    pthread_mutexattr_t attributes;
    pthread_t thread;
    struct timespec limit = {0, 0};
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, kind);
    CODE(pthread_mutex_init(&lock, &attributes));
    CODE(pthread_mutex_lock(&lock));
    CODE(pthread_mutex_trylock(&lock));
    if (kind != PTHREAD_MUTEX_NORMAL) CODE(pthread_mutex_lock(&lock));
    else CODE(pthread_mutex_timedlock(&lock, &limit));
    if (kind != PTHREAD_MUTEX_NORMAL) {
        start(&thread, try_it, NULL);
        pthread_join(thread, NULL);
    }
    CODE(pthread_mutex_destroy(&lock));
    for (int i = 0; i < 3; i++) {
        if (kind == PTHREAD_MUTEX_NORMAL && i > 0) break;
        CODE(pthread_mutex_unlock(&lock));
    }
    if (kind == PTHREAD_MUTEX_ERRORCHECK) CODE(pthread_mutex_unlock(&lock));
    CODE(pthread_mutex_destroy(&lock));
}

static void odd(void) {
    of_kind(PTHREAD_MUTEX_RECURSIVE);
    of_kind(PTHREAD_MUTEX_ERRORCHECK);
    of_kind(PTHREAD_MUTEX_NORMAL);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    CODE(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT));
    CODE(pthread_mutex_init(&lock, &attributes));
    CODE(pthread_mutex_lock(&lock));
    CODE(pthread_mutex_unlock(&lock));
    CODE(pthread_mutex_destroy(&lock));
}
