// kind: a process-shared semaphore posted by a child
#include "odd.h"

static void odd(void) {
    int status;
    sem_t *ready = shared_memory(sizeof *ready);
    sem_init(ready, 1, 0);
    pid_t child = fork();
    if (child == 0) {
        usleep(50000);
        sem_post(ready);
        _exit(0);
    }
    SHOW(sem_wait(ready));
    SHOW(waitpid(child, &status, 0) == child);
}
