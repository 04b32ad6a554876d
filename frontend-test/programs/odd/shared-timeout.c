// kind: process-shared primitives whose deadline passes while a child holds them
#include "odd.h"

static struct { pthread_mutex_t lock; pthread_cond_t changed; sem_t taken, ready; } *shared;

static void odd(void) {
    int status;
    shared = shared_memory(sizeof *shared);
    share(&shared->lock, 0, &shared->changed);
    sem_init(&shared->taken, 1, 0);
    sem_init(&shared->ready, 1, 0);
    pid_t child = fork();
    if (child == 0) {
        pthread_mutex_lock(&shared->lock);
        sem_post(&shared->taken);
        sem_wait(&shared->ready);
        pthread_mutex_unlock(&shared->lock);
        _exit(0);
    }
    SHOW(sem_wait(&shared->taken));
    struct timespec at = in(CLOCK_REALTIME, 35);
    CODE(pthread_mutex_timedlock(&shared->lock, &at));
    at = in(CLOCK_MONOTONIC, 35);
    CODE(pthread_mutex_clocklock(&shared->lock, CLOCK_MONOTONIC, &at));
    at = in(CLOCK_MONOTONIC, 35);
    SHOW(sem_clockwait(&shared->taken, CLOCK_MONOTONIC, &at));
    SHOW(sem_post(&shared->ready));
    CODE(pthread_mutex_lock(&shared->lock));
    at = in(CLOCK_REALTIME, 35);
    int code;
    do code = pthread_cond_timedwait(&shared->changed, &shared->lock, &at); while (code == 0);
    CODE(code);
    CODE(pthread_mutex_unlock(&shared->lock));
    SHOW(waitpid(child, &status, 0) == child);
}
