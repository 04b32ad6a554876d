// kind: a process-shared mutex contended by a child
#include "odd.h"

static struct { pthread_mutex_t lock; int count; } *shared;

static void odd(void) {
    int status;
    pthread_mutexattr_t attributes;
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&shared->lock, &attributes);
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
