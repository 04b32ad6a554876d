// kind: recv on a connection ends with EINTR by alarm
#define PEER
#include "odd.h"

static void nothing(int number) {}

static void odd(void) {
    char bytes[8];
    int fd = taken();
    handle(SIGALRM, nothing, 0);
    alarm_in(50);
    SHOW(recv(fd, bytes, 1, 0));
    alarm_in(50);
    SHOW(read(fd, bytes, 1));
    put(fd, "+");
    SHOW(recv(fd, bytes, 1, 0));
    close(fd);
}

static void peer(void) { answer_sign(dial(), "x"); }
