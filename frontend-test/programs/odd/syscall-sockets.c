// kind: libc's syscall() for accept4, recvfrom, sendto and shutdown of a connection
#define PEER
#include "odd.h"

static void odd(void) {
    char bytes[8] = "";
    int fd = syscall(SYS_accept4, listener, NULL, NULL, 0);
    SHOW(fd >= 0);
    SHOW(syscall(SYS_sendto, fd, "+", 1, MSG_NOSIGNAL, NULL, 0));
    SHOW(syscall(SYS_recvfrom, fd, bytes, 1, 0, NULL, NULL));
    say("%s\n", bytes);
    SHOW(syscall(SYS_shutdown, fd, SHUT_WR));
    SHOW(syscall(SYS_read, fd, bytes, 1));
    SHOW(syscall(SYS_close, fd));
}

static void peer(void) { answer_sign(dial(), "x"); }
