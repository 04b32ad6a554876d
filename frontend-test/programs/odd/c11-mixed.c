// kind: C11 calls and pthread calls on the same lock
#include "odd.h"
#include <threads.h>

static mtx_t lock;
static long count;

static void *work(void *argument) {
    for (int i = 0; i < 5000; i++) {
        mtx_lock(&lock);
        count++;
        pthread_mutex_unlock((pthread_mutex_t *)&lock);
        pthread_mutex_lock((pthread_mutex_t *)&lock);
        count++;
        mtx_unlock(&lock);
    }
    return argument;
}

static void odd(void) {
    pthread_t threads[3];
    mtx_init(&lock, mtx_plain);
    for (int i = 0; i < 3; i++) start(&threads[i], work, NULL);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    say("%ld\n", count);
}
