// kind: spin locks and sched_yield
#include "odd.h"

static pthread_spinlock_t lock;
static long count;

static void *work(void *argument) {
    for (int i = 0; i < 2000; i++) {
        pthread_spin_lock(&lock);
        count++;
        pthread_spin_unlock(&lock);
        if (i % 100 == 0) sched_yield();
    }
    return argument;
}

static void odd(void) {
    pthread_t threads[3];
    CODE(pthread_spin_init(&lock, 0));
    for (int i = 0; i < 3; i++) start(&threads[i], work, NULL);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    say("%ld\n", count);
    CODE(pthread_spin_trylock(&lock));
    CODE(pthread_spin_trylock(&lock));
    CODE(pthread_spin_unlock(&lock));
}
