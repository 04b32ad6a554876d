// kind: a full POSIX message queue: senders wait, in time or not at all
#include "odd.h"
#include <mqueue.h>

static mqd_t queue;

static void *take(void *argument) {
    char text[8];
    usleep(30000);
    for (int i = 0; i < 3; i++) MUST(mq_receive(queue, text, sizeof text, NULL) == 1);
    return argument;
}

static void odd(void) {
    char name[32], text[8];
    pthread_t thread;
    struct mq_attr attributes = {.mq_maxmsg = 2, .mq_msgsize = 8}, seen;
    struct timespec past = {0, 0}, bad = {0, 1000000000}, soon;
    snprintf(name, sizeof name, "/full-%d-%d", (int)getpid(), port);
    queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    OK(queue);
    SHOW(mq_send(queue, "1", 1, 0));
    SHOW(mq_send(queue, "2", 1, 0));
    SHOW(mq_timedsend(queue, "3", 1, 0, &past));
    SHOW(mq_timedsend(queue, "3", 1, 0, &bad));
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_sec += soon.tv_nsec / 900000000;
    soon.tv_nsec = (soon.tv_nsec + 50000000) % 1000000000;
    SHOW(mq_timedsend(queue, "3", 1, 0, &soon));
    SHOW(mq_send(queue, "much too long", 13, 0));
    start(&thread, take, NULL);
    SHOW(mq_send(queue, "3", 1, 0));
    pthread_join(thread, NULL);
    SHOW(mq_getattr(queue, &seen));
    say("%ld of %ld, %ld bytes, flags %ld\n", seen.mq_curmsgs, seen.mq_maxmsg, seen.mq_msgsize,
        seen.mq_flags);
    seen.mq_flags = O_NONBLOCK;
    SHOW(mq_setattr(queue, &seen, NULL));
    SHOW(mq_receive(queue, text, sizeof text, NULL));
    SHOW(mq_receive(-1, text, sizeof text, NULL));
    SHOW(mq_unlink(name));
}
