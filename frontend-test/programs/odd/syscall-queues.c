// kind: libc's syscall() for flock, semop, msgsnd, msgrcv and mq_timedreceive
#include "odd.h"
#include <mqueue.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

static int one, two, set, queue;
static mqd_t named;

static void *feed(void *argument) {
    struct { long kind; char text[8]; } message = {3, "hello"};
    usleep(30000);
    MUST(syscall(SYS_flock, one, LOCK_UN) == 0);
    usleep(30000);
    MUST(syscall(SYS_semop, set, &(struct sembuf){0, 1, 0}, 1L) == 0);
    usleep(30000);
    MUST(syscall(SYS_msgsnd, queue, &message, 8L, 0) == 0);
    usleep(30000);
    MUST(syscall(SYS_mq_timedsend, named, "text", 4L, 1, NULL) == 0);
    return argument;
}

static void odd(void) {
    struct { long kind; char text[8]; } message;
    char name[32], text[8];
    pthread_t thread;
    struct mq_attr attributes = {.mq_maxmsg = 2, .mq_msgsize = 8};
    one = open("lock", O_RDWR | O_CREAT, 0600);
    two = open("lock", O_RDWR);
    set = semget(IPC_PRIVATE, 1, 0600);
    queue = msgget(IPC_PRIVATE, 0600);
    snprintf(name, sizeof name, "/call-%d-%d", (int)getpid(), port);
    named = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    SHOW(syscall(SYS_flock, one, LOCK_EX));
    start(&thread, feed, NULL);
    SHOW(syscall(SYS_flock, two, LOCK_EX));
    SHOW(syscall(SYS_semop, set, &(struct sembuf){0, -1, 0}, 1L));
    SHOW(syscall(SYS_msgrcv, queue, &message, 8L, 0L, 0));
    SHOW(syscall(SYS_mq_timedreceive, named, text, 8L, NULL, NULL));
    pthread_join(thread, NULL);
    SHOW(semctl(set, 0, IPC_RMID));
    SHOW(msgctl(queue, IPC_RMID, NULL));
    SHOW(mq_unlink(name));
}
