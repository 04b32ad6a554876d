// kind: a handler that interrupts a wait sends on a connection
#define PEER
#include "odd.h"

static int fd;

static void answer(int number) { MUST(send(fd, "+", 1, MSG_NOSIGNAL) == 1); }

static void odd(void) {
    char byte;
    fd = taken();
    handle(SIGALRM, answer, SA_RESTART);
    alarm_in(50);
    SHOW(read(fd, &byte, 1));
    close(fd);
}

static void peer(void) { answer_sign(dial(), "x"); }
