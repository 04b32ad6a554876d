// kind: a parent that signals a child's condition, semaphore and spin lock, and is answered
#include "odd.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_spinlock_t spin;
    sem_t named, back;
    int turn;
} *shared;

static void pass(int from, int to) {
    pthread_mutex_lock(&shared->lock);
    while (shared->turn != from) pthread_cond_wait(&shared->changed, &shared->lock);
    shared->turn = to;
    pthread_cond_broadcast(&shared->changed);
    pthread_mutex_unlock(&shared->lock);
}

static void odd(void) {
    int status;
    shared = shared_memory(sizeof *shared);
    share(&shared->lock, 1, &shared->changed);
    CODE(pthread_spin_init(&shared->spin, PTHREAD_PROCESS_SHARED));
    sem_init(&shared->named, 1, 0);
    sem_init(&shared->back, 1, 0);
    CODE(pthread_spin_lock(&shared->spin));
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 5; i++) pass(1, 0);
        sem_wait(&shared->named);
        sem_post(&shared->back);
        pthread_spin_lock(&shared->spin);
        sem_post(&shared->back);
        usleep(30000);
        pthread_spin_unlock(&shared->spin);
        // The child dies with the lock.
        pthread_mutex_lock(&shared->lock);
        sem_post(&shared->back);
        _exit(0);
    }
    for (int i = 0; i < 5; i++) pass(0, 1);
    SHOW(sem_post(&shared->named));
    SHOW(sem_wait(&shared->back));
    CODE(pthread_spin_unlock(&shared->spin));
    SHOW(sem_wait(&shared->back));
    CODE(pthread_spin_lock(&shared->spin));
    SHOW(sem_wait(&shared->back));
    CODE(pthread_mutex_lock(&shared->lock));
    CODE(pthread_mutex_consistent(&shared->lock));
    CODE(pthread_mutex_unlock(&shared->lock));
    SHOW(waitpid(child, &status, 0) == child);
    struct timespec past = {0, 0};
    SHOW(sem_timedwait(&shared->back, &past));
}
