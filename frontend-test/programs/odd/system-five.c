// kind: System V semaphores and messages between threads
#include "odd.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

static int set, queue;

static void *feed(void *argument) {
    struct { long kind; char text[8]; } message = {3, "hello"};
    usleep(50000);
    MUST(semop(set, &(struct sembuf){0, 2, 0}, 1) == 0);
    usleep(50000);
    MUST(msgsnd(queue, &message, sizeof message.text, 0) == 0);
    return argument;
}

static void odd(void) {
    struct { long kind; char text[8]; } message;
    pthread_t thread;
    set = semget(IPC_PRIVATE, 1, 0600);
    queue = msgget(IPC_PRIVATE, 0600);
    SHOW(semop(set, &(struct sembuf){0, -1, IPC_NOWAIT}, 1));
    SHOW(msgrcv(queue, &message, sizeof message.text, 0, IPC_NOWAIT));
    start(&thread, feed, NULL);
    SHOW(semop(set, &(struct sembuf){0, -2, 0}, 1));
    SHOW(msgrcv(queue, &message, sizeof message.text, 0, 0));
    say("%ld %s\n", message.kind, message.text);
    pthread_join(thread, NULL);
    SHOW(semctl(set, 0, GETVAL));
    SHOW(semctl(set, 0, IPC_RMID));
    SHOW(msgctl(queue, IPC_RMID, NULL));
}
