// kind: System V messages between threads
#include "odd.h"
#include <sys/ipc.h>
#include <sys/msg.h>

static int queue;

static void *feed(void *argument) {
    struct { long kind; char text[8]; } message = {3, "hello"};
    usleep(50000);
    MUST(msgsnd(queue, &message, sizeof message.text, 0) == 0);
    return argument;
}

static void odd(void) {
    struct { long kind; char text[8]; } message;
    pthread_t thread;
    queue = msgget(IPC_PRIVATE, 0600);
    start(&thread, feed, NULL);
    SHOW(msgrcv(queue, &message, sizeof message.text, 0, 0));
    pthread_join(thread, NULL);
    SHOW(msgctl(queue, IPC_RMID, NULL));
}
