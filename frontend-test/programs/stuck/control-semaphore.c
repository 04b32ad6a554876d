// call: -
// expect: none
// via: libc
// Another thread posts the semaphore after 3 s.
#include "stuck.h"
#include <semaphore.h>

static sem_t ready;

static void *post(void *argument) {
    be_another();
    sleep(3);
    sem_post(&ready);
    return argument;
}

static void stick(void) {
    pthread_t thread;
    sem_init(&ready, 0, 0);
    MUST(pthread_create(&thread, NULL, post, NULL) == 0);
    sem_wait(&ready);
    pthread_join(thread, NULL);
}
