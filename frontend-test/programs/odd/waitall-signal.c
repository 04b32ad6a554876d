// kind: MSG_WAITALL interrupted by a signal after some bytes
#define PEER
#include "odd.h"

static void nothing(int number) {}

static void odd(void) {
    char bytes[64];
    int fd = taken();
    handle(SIGALRM, nothing, 0);
    await_sign(fd);
    alarm_in(200);
    SHOW(recv(fd, bytes, 64, MSG_WAITALL));
    alarm_in(50);
    SHOW(recv(fd, bytes, 64, MSG_WAITALL));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    put(fd, "!0123");
    drain(fd);
}
