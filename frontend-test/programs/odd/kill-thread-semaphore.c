// kind: pthread_kill ends another thread's sem_wait with EINTR
#include "odd.h"

static void nothing(int number) {}

static void *wait_here(void *argument) {
    sem_t never;
    sem_init(&never, 0, 0);
    SHOW(sem_wait(&never));
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
