// kind: process-shared primitives whose deadline passes while a child holds them
#include "odd.h"

static struct { pthread_mutex_t lock; pthread_cond_t changed; sem_t taken, ready; } *shared;

static struct timespec soon(clockid_t id) {
    struct timespec at;
    clock_gettime(id, &at);
    at.tv_nsec += 35000000;
    if (at.tv_nsec >= 1000000000) { at.tv_sec++; at.tv_nsec -= 1000000000; }
    return at;
}

static void odd(void) {
    int status;
    pthread_mutexattr_t of_lock;
    pthread_condattr_t of_cond;
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_init(&of_lock);
    pthread_mutexattr_setpshared(&of_lock, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&shared->lock, &of_lock);
    pthread_condattr_init(&of_cond);
    pthread_condattr_setpshared(&of_cond, PTHREAD_PROCESS_SHARED);
    pthread_cond_init(&shared->changed, &of_cond);
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
    struct timespec at = soon(CLOCK_REALTIME);
    CODE(pthread_mutex_timedlock(&shared->lock, &at));
    at = soon(CLOCK_MONOTONIC);
    CODE(pthread_mutex_clocklock(&shared->lock, CLOCK_MONOTONIC, &at));
    at = soon(CLOCK_MONOTONIC);
    SHOW(sem_clockwait(&shared->taken, CLOCK_MONOTONIC, &at));
    SHOW(sem_post(&shared->ready));
    CODE(pthread_mutex_lock(&shared->lock));
    at = soon(CLOCK_REALTIME);
    int code;
    do code = pthread_cond_timedwait(&shared->changed, &shared->lock, &at); while (code == 0);
    CODE(code);
    CODE(pthread_mutex_unlock(&shared->lock));
    SHOW(waitpid(child, &status, 0) == child);
}
