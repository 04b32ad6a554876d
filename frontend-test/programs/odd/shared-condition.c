// kind: a process-shared condition signalled by a child
#include "odd.h"

static struct { pthread_mutex_t lock; pthread_cond_t changed; int stage; } *shared;

static void odd(void) {
    int status;
    shared = shared_memory(sizeof *shared);
    share(&shared->lock, 0, &shared->changed);
    pid_t child = fork();
    if (child == 0) {
        usleep(50000);
        pthread_mutex_lock(&shared->lock);
        shared->stage = 1;
        pthread_cond_signal(&shared->changed);
        pthread_mutex_unlock(&shared->lock);
        _exit(0);
    }
    pthread_mutex_lock(&shared->lock);
    while (shared->stage != 1) pthread_cond_wait(&shared->changed, &shared->lock);
    pthread_mutex_unlock(&shared->lock);
    SHOW(waitpid(child, &status, 0) == child);
}
