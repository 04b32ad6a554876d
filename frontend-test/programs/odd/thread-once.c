// kind: pthread_once by several threads, which wait for the first
#include "odd.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int made, seen;

static void make(void) {
    usleep(50000);
    made++;
}

static void *use(void *argument) {
    pthread_once(&once, make);
    __atomic_add_fetch(&seen, made, __ATOMIC_SEQ_CST);
    return argument;
}

static void odd(void) {
    pthread_t threads[5];
    for (int i = 0; i < 5; i++) start(&threads[i], use, NULL);
    for (int i = 0; i < 5; i++) pthread_join(threads[i], NULL);
    say("%d %d\n", made, seen);
}
