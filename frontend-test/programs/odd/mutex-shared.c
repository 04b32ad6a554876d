// kind: process-shared mutex, condition and semaphore across fork
#include "odd.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    sem_t ready;
    int stage, count;
} *shared;

static void odd(void) {
    int status;
    shared = shared_memory(sizeof *shared);
    share(&shared->lock, 0, &shared->changed);
    sem_init(&shared->ready, 1, 0);
    pid_t child = fork();
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&shared->lock);
        shared->count++;
        pthread_mutex_unlock(&shared->lock);
    }
    if (child == 0) {
        // After this time the parent waits.
        usleep(200000);
        pthread_mutex_lock(&shared->lock);
        shared->stage = 1;
        pthread_cond_signal(&shared->changed);
        pthread_mutex_unlock(&shared->lock);
        sem_post(&shared->ready);
        _exit(0);
    }
    pthread_mutex_lock(&shared->lock);
    while (shared->stage != 1) pthread_cond_wait(&shared->changed, &shared->lock);
    pthread_mutex_unlock(&shared->lock);
    SHOW(sem_wait(&shared->ready));
    SHOW(waitpid(child, &status, 0) == child);
    say("%d\n", shared->count);
}
