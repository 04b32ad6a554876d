// kind: detached threads whose stacks are more than libc keeps, so that they unmap each other's
#include "odd.h"

#define THREADS 8
#define ROUNDS 60

static sem_t begun, go[THREADS];

static void *end_when_told(void *argument) {
    sem_post(&begun);
    sem_wait(argument);
    return NULL;
}

static void odd(void) {
    pthread_t thread;
    unsigned number = 1;
    MUST(sem_init(&begun, 0, 0) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        int order[THREADS];
        for (int i = 0; i < THREADS; i++) {
            MUST(sem_init(&go[i], 0, 0) == 0);
            MUST(pthread_create(&thread, NULL, end_when_told, &go[i]) == 0);
            MUST(pthread_detach(thread) == 0);
            order[i] = i;
        }
        for (int i = 0; i < THREADS; i++) sem_wait(&begun);
        for (int i = THREADS - 1; i > 0; i--) {
            number = number * 1103515245 + 12345;
            int other = number >> 16, at = other % (i + 1), kept = order[at];
            order[at] = order[i];
            order[i] = kept;
        }
        for (int i = 0; i < THREADS; i++) {
            sem_post(&go[order[i]]);
            usleep(200);
        }
    }
    say("%d rounds\n", ROUNDS);
}
