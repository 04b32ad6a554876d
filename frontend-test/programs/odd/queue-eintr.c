// kind: semop, msgrcv and mq_receive end with EINTR by a signal from another thread
#include "odd.h"
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

static pthread_t waiter;

static void nothing(int number) { (void)number; }

static void *disturb(void *argument) {
    for (int i = 0; i < 3; i++) {
        usleep(100000);
        MUST(pthread_kill(waiter, SIGUSR1) == 0);
    }
    return argument;
}

static void odd(void) {
    struct { long kind; char text[8]; } message;
    char name[32], text[8];
    pthread_t thread;
    struct mq_attr attributes = {.mq_maxmsg = 2, .mq_msgsize = 8};
    int set = semget(IPC_PRIVATE, 1, 0600), queue = msgget(IPC_PRIVATE, 0600);
    snprintf(name, sizeof name, "/eintr-%d-%d", (int)getpid(), port);
    mqd_t named = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    waiter = pthread_self();
    handle(SIGUSR1, nothing, 0);
    start(&thread, disturb, NULL);
    SHOW(semop(set, &(struct sembuf){0, -1, 0}, 1));
    SHOW(msgrcv(queue, &message, 8, 0, 0));
    SHOW(mq_receive(named, text, 8, NULL));
    pthread_join(thread, NULL);
    SHOW(semctl(set, 0, IPC_RMID));
    SHOW(msgctl(queue, IPC_RMID, NULL));
    SHOW(mq_unlink(name));
}
