// kind: MSG_TRUNC on TCP throws bytes away
#define PEER
#include "odd.h"

static void odd(void) {
    char bytes[16] = "untouched";
    int fd = taken();
    SHOW(recv(fd, bytes, 4, MSG_TRUNC | MSG_WAITALL));
    say("%s\n", bytes);
    SHOW(recv(fd, bytes, 4, MSG_WAITALL));
    say("%.4s\n", bytes);
    SHOW(recv(fd, NULL, 2, MSG_TRUNC));
    SHOW(recv(fd, bytes, 8, 0));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    put(fd, "abcdefghij");
    shutdown(fd, SHUT_WR);
    drain(fd);
}
