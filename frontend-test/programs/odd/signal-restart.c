// kind: SA_RESTART restarts read and accept, not poll, select, epoll_wait or nanosleep
#define PEER
#include "odd.h"

static int fd;

static void answer(int number) { put(fd, "+"); }

static void nothing(int number) {}

static void odd(void) {
    char bytes[8];
    fd = taken();
    handle(SIGALRM, answer, SA_RESTART);
    alarm_in(50);
    SHOW(read(fd, bytes, 1));
    handle(SIGALRM, nothing, SA_RESTART);
    struct pollfd wanted = {listener, POLLIN, 0};
    alarm_in(50);
    SHOW(poll(&wanted, 1, 5000));
    alarm_in(50);
    SHOW(select(0, NULL, NULL, NULL, &(struct timeval){5, 0}));
    alarm_in(50);
    SHOW(usleep(5000000));
    alarm_in(50);
    struct epoll_event event;
    SHOW(epoll_wait(epoll_create1(0), &event, 1, 5000));
    close(fd);
}

static void peer(void) { answer_sign(dial(), "x"); }
