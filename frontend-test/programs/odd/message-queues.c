// kind: POSIX message queues between threads, with a notification
#include "odd.h"
#include <mqueue.h>

static mqd_t queue;

static void *feed(void *argument) {
    usleep(50000);
    MUST(mq_send(queue, "low", 3, 1) == 0 && mq_send(queue, "high", 4, 9) == 0);
    return argument;
}

static void odd(void) {
    char name[32], text[16];
    unsigned priority;
    pthread_t thread;
    struct mq_attr attributes = {.mq_maxmsg = 4, .mq_msgsize = 16};
    struct timespec past = {0, 0};
    snprintf(name, sizeof name, "/odd-%d-%d", (int)getpid(), port);
    queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    OK(queue);
    SHOW(mq_timedreceive(queue, text, sizeof text, NULL, &past));
    start(&thread, feed, NULL);
    SHOW(mq_receive(queue, text, sizeof text, &priority) > 0);
    pthread_join(thread, NULL);
    SHOW(mq_receive(queue, text, sizeof text, &priority) > 0);
    SHOW(mq_receive(queue, text, 3, NULL));
    SHOW(mq_close(queue));
    SHOW(mq_unlink(name));
    SHOW(mq_unlink(name));
}
