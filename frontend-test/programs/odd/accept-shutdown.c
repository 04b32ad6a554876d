// kind: shutdown of a listener wakes accept in another thread
#include "odd.h"

static void *wait_for_one(void *argument) {
    SHOW(accept(listener, NULL, NULL));
    return argument;
}

static void odd(void) {
    pthread_t thread;
    start(&thread, wait_for_one, NULL);
    usleep(100000);
    MUST(shutdown(listener, SHUT_RD) == 0);
    pthread_join(thread, NULL);
}
