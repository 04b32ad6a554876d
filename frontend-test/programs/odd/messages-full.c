// kind: System V messages: a full queue, kinds, sizes
#include "odd.h"
#include <sys/ipc.h>
#include <sys/msg.h>

static int queue;
static struct { long kind; char text[64]; } message;

static void *take(void *argument) {
    struct { long kind; char text[64]; } taken;
    usleep(30000);
    MUST(msgrcv(queue, &taken, sizeof taken.text, 2, 0) == 64);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    struct msqid_ds state;
    queue = msgget(IPC_PRIVATE, 0600);
    SHOW(msgctl(queue, IPC_STAT, &state));
    state.msg_qbytes = 128;
    SHOW(msgctl(queue, IPC_SET, &state));
    message.kind = 1;
    SHOW(msgsnd(queue, &message, 64, 0));
    message.kind = 2;
    SHOW(msgsnd(queue, &message, 64, 0));
    SHOW(msgsnd(queue, &message, 64, IPC_NOWAIT));
    start(&thread, take, NULL);
    message.kind = 3;
    SHOW(msgsnd(queue, &message, 64, 0));
    pthread_join(thread, NULL);
    SHOW(msgrcv(queue, &message, 8, 0, 0));
    SHOW(msgrcv(queue, &message, 8, -3, MSG_NOERROR));
    say("kind %ld\n", message.kind);
    SHOW(msgrcv(queue, &message, 64, 3, MSG_EXCEPT | IPC_NOWAIT));
    SHOW(msgrcv(queue, &message, 64, 3, 0));
    message.kind = 0;
    SHOW(msgsnd(queue, &message, 8, 0));
    SHOW(msgctl(queue, IPC_RMID, NULL));
}
