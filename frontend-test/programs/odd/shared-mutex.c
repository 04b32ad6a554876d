// kind: a process-shared mutex contended by a child
#include "odd.h"

static struct { pthread_mutex_t lock; int count; } *shared;

static void odd(void) {
    int status;
    shared = shared_memory(sizeof *shared);
    share(&shared->lock, 0, NULL);
    pid_t child = fork();
    for (int i = 0; i < 100000; i++) {
        pthread_mutex_lock(&shared->lock);
        shared->count++;
        pthread_mutex_unlock(&shared->lock);
    }
    if (child == 0) _exit(0);
    SHOW(waitpid(child, &status, 0) == child);
    say("%d\n", shared->count);
}
