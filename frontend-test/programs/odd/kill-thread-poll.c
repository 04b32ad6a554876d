// kind: pthread_kill ends another thread's poll with EINTR
#include "odd.h"

static void nothing(int number) {}

static void *wait_here(void *argument) {
    struct pollfd wanted = {listener, POLLIN, 0};
    SHOW(poll(&wanted, 1, -1));
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
