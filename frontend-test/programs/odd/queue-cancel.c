// kind: pthread_cancel of threads in mq_receive, msgrcv and F_OFD_SETLKW
#include "odd.h"
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>

static int one, two, queue;
static mqd_t named;

static void *wait_in(void *argument) {
    struct { long kind; char text[8]; } message;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char text[8];
    switch (*(int *)argument) {
    case 0: mq_receive(named, text, sizeof text, NULL); break;
    case 1: msgrcv(queue, &message, sizeof message.text, 0, 0); break;
    case 2: fcntl(two, F_OFD_SETLKW, &lock); break;
    }
    return argument;
}

static void odd(void) {
    char name[32];
    struct mq_attr attributes = {.mq_maxmsg = 2, .mq_msgsize = 8};
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    one = open("lock", O_RDWR | O_CREAT, 0600);
    two = open("lock", O_RDWR);
    queue = msgget(IPC_PRIVATE, 0600);
    snprintf(name, sizeof name, "/cancel-%d-%d", (int)getpid(), port);
    named = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    SHOW(fcntl(one, F_OFD_SETLK, &lock));
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        void *result;
        start(&thread, wait_in, &i);
        usleep(30000);
        CODE(pthread_cancel(thread));
        pthread_join(thread, &result);
        say("%d: cancelled %d\n", i, result == PTHREAD_CANCELED);
    }
    SHOW(msgctl(queue, IPC_RMID, NULL));
    SHOW(mq_unlink(name));
}
