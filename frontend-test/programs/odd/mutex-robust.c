// kind: a robust mutex whose owner has ended
#include "odd.h"

static pthread_mutex_t lock;

static void *take_and_end(void *argument) {
    pthread_mutex_lock(&lock);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    CODE(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST));
    CODE(pthread_mutex_init(&lock, &attributes));
    start(&thread, take_and_end, NULL);
    pthread_join(thread, NULL);
    CODE(pthread_mutex_lock(&lock));
    CODE(pthread_mutex_consistent(&lock));
    CODE(pthread_mutex_unlock(&lock));
    CODE(pthread_mutex_lock(&lock));
    CODE(pthread_mutex_unlock(&lock));
    start(&thread, take_and_end, NULL);
    pthread_join(thread, NULL);
    CODE(pthread_mutex_trylock(&lock));
    CODE(pthread_mutex_unlock(&lock));
    CODE(pthread_mutex_lock(&lock));
    CODE(pthread_mutex_destroy(&lock));
}
