// kind: MSG_WAITALL with MSG_PEEK, and with a time limit that comes first
#define PEER
#include "odd.h"

static void peer(void) {
    int fd = dial();
    put(fd, "abc");
    usleep(50000);
    put(fd, "def");
    await_sign(fd);
    put(fd, "ghi");
    await_sign(fd);
    close(fd);
}

static void odd(void) {
    char bytes[16] = "";
    struct timeval limit = {0, 300000};
    int fd = taken();
    SHOW(recv(fd, bytes, 6, MSG_WAITALL | MSG_PEEK));
    say("%s\n", bytes);
    SHOW(recv(fd, bytes, 6, MSG_WAITALL));
    put(fd, "1");
    SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    SHOW(recv(fd, bytes, 9, MSG_WAITALL));
    SHOW(recv(fd, bytes, 9, MSG_WAITALL));
    SHOW(recv(fd, bytes, 9, MSG_WAITALL | MSG_DONTWAIT));
    put(fd, "2");
    SHOW(recv(fd, bytes, 9, MSG_WAITALL));
}
