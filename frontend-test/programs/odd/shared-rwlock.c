// kind: a process-shared read-write lock, held by a child for reading and for writing
#include "odd.h"

static struct { pthread_rwlock_t lock; sem_t taken, tried, done; int value; } *shared;

static void hold(int (*take)(pthread_rwlock_t *), int value) {
    take(&shared->lock);
    sem_post(&shared->taken);
    sem_wait(&shared->tried);
    usleep(50000);
    shared->value = value;
    pthread_rwlock_unlock(&shared->lock);
    sem_wait(&shared->done);
}

static void try_then_take(
    int (*try)(pthread_rwlock_t *), int (*take)(pthread_rwlock_t *)) {
    CODE(try(&shared->lock));
    SHOW(sem_post(&shared->tried));
    CODE(take(&shared->lock));
    say("%d\n", shared->value);
    CODE(pthread_rwlock_unlock(&shared->lock));
    SHOW(sem_post(&shared->done));
}

static void odd(void) {
    int status;
    pthread_rwlockattr_t attributes;
    shared = shared_memory(sizeof *shared);
    pthread_rwlockattr_init(&attributes);
    CODE(pthread_rwlockattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED));
    CODE(pthread_rwlock_init(&shared->lock, &attributes));
    SHOW(sem_init(&shared->taken, 1, 0));
    SHOW(sem_init(&shared->tried, 1, 0));
    SHOW(sem_init(&shared->done, 1, 0));
    pid_t child = fork();
    if (child == 0) {
        hold(pthread_rwlock_wrlock, 1);
        hold(pthread_rwlock_rdlock, 2);
        _exit(0);
    }
    SHOW(sem_wait(&shared->taken));
    try_then_take(pthread_rwlock_tryrdlock, pthread_rwlock_rdlock);
    SHOW(sem_wait(&shared->taken));
    CODE(pthread_rwlock_rdlock(&shared->lock));
    CODE(pthread_rwlock_unlock(&shared->lock));
    try_then_take(pthread_rwlock_trywrlock, pthread_rwlock_wrlock);
    SHOW(waitpid(child, &status, 0) == child);
}
