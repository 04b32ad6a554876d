// kind: a named semaphore: open, exclusive, wait, unlink
#include "odd.h"

static sem_t *ready;

static void *post(void *argument) {
    usleep(50000);
    sem_post(ready);
    return argument;
}

static void odd(void) {
    char name[32];
    pthread_t thread;
    snprintf(name, sizeof name, "/odd-%d-%d", (int)getpid(), port);
    ready = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
    SHOW(ready != SEM_FAILED);
    SHOW(sem_open(name, O_CREAT | O_EXCL, 0600, 0) == SEM_FAILED ? -1 : 0);
    start(&thread, post, NULL);
    SHOW(sem_wait(ready));
    pthread_join(thread, NULL);
    SHOW(sem_close(ready));
    SHOW(sem_unlink(name));
    SHOW(sem_unlink(name));
}
