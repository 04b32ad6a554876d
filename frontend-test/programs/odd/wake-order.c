// kind: a writer in one thread wakes epoll_wait in another by pipe, eventfd, socketpair
#include "odd.h"

static int pipe_ends[2], pair[2], event;

static void *wake_all(void *argument) {
    usleep(30000);
    MUST(write(pipe_ends[1], "p", 1) == 1);
    usleep(30000);
    MUST(eventfd_write(event, 1) == 0);
    usleep(30000);
    MUST(write(pair[1], "s", 1) == 1);
    return argument;
}

static void odd(void) {
    struct epoll_event one = {.events = EPOLLIN};
    pthread_t thread;
    int set = epoll_create1(0);
    event = eventfd(0, 0);
    MUST(pipe(pipe_ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    int fds[] = {pipe_ends[0], event, pair[0]};
    for (int i = 0; i < 3; i++) {
        one.data.u32 = i;
        MUST(epoll_ctl(set, EPOLL_CTL_ADD, fds[i], &one) == 0);
    }
    start(&thread, wake_all, NULL);
    for (int i = 0; i < 3; i++) {
        char bytes[8];
        SHOW(epoll_wait(set, &one, 1, 5000));
        say("which %u\n", one.data.u32);
        SHOW(read(fds[one.data.u32], bytes, 8));
    }
    pthread_join(thread, NULL);
}
