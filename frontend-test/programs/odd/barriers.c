// kind: a barrier of five threads, for ten rounds with one serial thread each
#include "odd.h"

static pthread_barrier_t barrier;
static int serial[10], early, counts[10];

static void *walk(void *argument) {
    for (int round = 0; round < 10; round++) {
        __atomic_add_fetch(&counts[round], 1, __ATOMIC_SEQ_CST);
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
            __atomic_add_fetch(&serial[round], 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&counts[round], __ATOMIC_SEQ_CST) != 5) early = 1;
    }
    return argument;
}

static void odd(void) {
    pthread_t threads[5];
    CODE(pthread_barrier_init(&barrier, NULL, 0));
    CODE(pthread_barrier_init(&barrier, NULL, 5));
    for (int i = 0; i < 5; i++) start(&threads[i], walk, NULL);
    for (int i = 0; i < 5; i++) pthread_join(threads[i], NULL);
    for (int round = 0; round < 10; round++) say("%d ", serial[round]);
    say("early %d\n", early);
    CODE(pthread_barrier_destroy(&barrier));
}
