// kind: 2000 threads one after the other and 200 at a time
#include "odd.h"

static long sum;

static void *add(void *argument) {
    __atomic_add_fetch(&sum, (intptr_t)argument, __ATOMIC_SEQ_CST);
    return argument;
}

static void odd(void) {
    static pthread_t threads[200];
    for (long i = 0; i < 2000; i++) {
        start(&threads[0], add, (void *)i);
        pthread_join(threads[0], NULL);
    }
    say("%ld\n", sum);
    for (long i = 0; i < 200; i++) start(&threads[i], add, (void *)i);
    for (int i = 0; i < 200; i++) pthread_join(threads[i], NULL);
    say("%ld\n", sum);
}
