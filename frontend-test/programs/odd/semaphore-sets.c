// kind: System V semaphores: time limits, several operations at once, waits for zero, SETVAL
#include "odd.h"
#include <sys/ipc.h>
#include <sys/sem.h>

static int set;

static void *feed(void *argument) {
    usleep(30000);
    MUST(semctl(set, 0, SETVAL, 1) == 0);
    usleep(30000);
    MUST(semop(set, &(struct sembuf){1, 1, 0}, 1) == 0);
    usleep(30000);
    MUST(semop(set, &(struct sembuf){2, -1, 0}, 1) == 0);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    unsigned short values[3] = {0, 0, 1};
    struct sembuf both[] = {{0, -1, 0}, {1, -1, 0}}, zero = {2, 0, 0};
    struct timespec none = {0, 0}, some = {0, 20000000}, bad = {-1, 0};
    set = semget(IPC_PRIVATE, 3, 0600);
    SHOW(semctl(set, 0, SETALL, values));
    SHOW(semtimedop(set, both, 2, &none));
    SHOW(semtimedop(set, both, 2, &some));
    SHOW(semtimedop(set, both, 2, &bad));
    SHOW(semop(set, &(struct sembuf){7, 1, 0}, 1));
    SHOW(semop(set, both, 0));
    SHOW(semop(set, both, 501));
    start(&thread, feed, NULL);
    SHOW(semop(set, both, 2));
    SHOW(semop(set, &zero, 1));
    pthread_join(thread, NULL);
    SHOW(semctl(set, 0, GETALL, values));
    say("%d %d %d\n", values[0], values[1], values[2]);
    SHOW(semctl(set, 0, IPC_RMID));
}
