// kind: System V objects removed while a thread waits for them: EIDRM
#include "odd.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

static int set, queue;

static void *remove_both(void *argument) {
    usleep(30000);
    MUST(semctl(set, 0, IPC_RMID) == 0);
    usleep(30000);
    MUST(msgctl(queue, IPC_RMID, NULL) == 0);
    return argument;
}

static void odd(void) {
    struct { long kind; char text[8]; } message;
    pthread_t thread;
    set = semget(IPC_PRIVATE, 1, 0600);
    queue = msgget(IPC_PRIVATE, 0600);
    start(&thread, remove_both, NULL);
    SHOW(semop(set, &(struct sembuf){0, -1, 0}, 1));
    SHOW(msgrcv(queue, &message, sizeof message.text, 0, 0));
    pthread_join(thread, NULL);
    SHOW(semop(set, &(struct sembuf){0, -1, 0}, 1));
    SHOW(msgsnd(queue, &message, sizeof message.text, 0));
}
