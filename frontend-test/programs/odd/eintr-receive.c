// kind: recv ends with EINTR by alarm, and the connection is still good
#define PEER
#include "odd.h"

static void nothing(int number) {}

static void odd(void) {
    char byte;
    int fd = taken();
    handle(SIGALRM, nothing, 0);
    alarm_in(50);
    SHOW(recv(fd, &byte, 1, 0));
    put(fd, "+");
    SHOW(recv(fd, &byte, 1, 0));
    close(fd);
}

static void peer(void) { answer_sign(dial(), "x"); }
