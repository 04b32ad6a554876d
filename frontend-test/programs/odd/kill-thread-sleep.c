// kind: pthread_kill ends another thread's sleep
#include "odd.h"

static void nothing(int number) {}

static void *wait_here(void *argument) {
    SHOW(sleep(5) >= 4);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    handle(SIGUSR1, nothing, 0);
    start(&thread, wait_here, NULL);
    usleep(100000);
    MUST(pthread_kill(thread, SIGUSR1) == 0);
    pthread_join(thread, NULL);
}
