// kind: close, a downgrade and dup2 free a lock for which another thread waits
#include "odd.h"
#include <sys/file.h>

static int waiting;

static void *wait_for_it(void *argument) {
    MUST(flock(waiting, *(int *)argument) == 0);
    return argument;
}

/* Makes a thread wait for a lock that `one` holds, and frees the lock by `release`. */
static void try(int one, int how, void (*release)(int)) {
    pthread_t thread;
    waiting = open("lock", O_RDWR);
    MUST(flock(one, LOCK_EX) == 0);
    start(&thread, wait_for_it, &how);
    usleep(30000);
    release(one);
    pthread_join(thread, NULL);
    close(waiting);
    close(one);
}

static void by_close(int fd) { SHOW(close(fd)); }
static void by_downgrade(int fd) { SHOW(flock(fd, LOCK_SH)); }
static void by_dup2(int fd) { OK(dup2(0, fd)); }

static void odd(void) {
    try(open("lock", O_RDWR | O_CREAT, 0600), LOCK_EX, by_close);
    try(open("lock", O_RDWR), LOCK_SH, by_downgrade);
    try(open("lock", O_RDWR), LOCK_EX, by_dup2);
    SHOW(flock(-1, LOCK_EX));
    SHOW(flock(0, 77));
    SHOW(unlink("lock"));
}
