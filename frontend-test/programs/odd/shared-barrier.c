// kind: a process-shared barrier that a child and two threads meet at, again and again
#include "odd.h"
#include <sched.h>

static struct { pthread_barrier_t meeting; int arrived[3], wrong; } *shared;

/* Returns in how many of ten meetings this one was the last. */
static int meet(int me) {
    int last = 0;
    for (int i = 1; i <= 10; i++) {
        shared->arrived[me] = i;
        last += pthread_barrier_wait(&shared->meeting) == PTHREAD_BARRIER_SERIAL_THREAD;
        for (int other = 0; other < 3; other++) shared->wrong += shared->arrived[other] < i;
    }
    return last;
}

static void *second(void *argument) {
    *(int *)argument = meet(1);
    return NULL;
}

static void odd(void) {
    int status, last[2];
    pthread_t thread;
    pthread_barrierattr_t attributes;
    shared = shared_memory(sizeof *shared);
    pthread_barrierattr_init(&attributes);
    CODE(pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED));
    CODE(pthread_barrier_init(&shared->meeting, &attributes, 0));
    CODE(pthread_barrier_init(&shared->meeting, &attributes, 3));
    pid_t child = fork();
    if (child == 0) _exit(meet(2));
    start(&thread, second, &last[1]);
    last[0] = meet(0);
    pthread_join(thread, NULL);
    SHOW(waitpid(child, &status, 0) == child);
    say("%d last, %d wrong\n", last[0] + last[1] + WEXITSTATUS(status), shared->wrong);
    CODE(pthread_barrier_destroy(&shared->meeting));
}
