// kind: libc's syscall() for read, write, sendto and poll of an accepted connection
#define PEER
#include "odd.h"

static void odd(void) {
    char bytes[8] = "";
    int fd = taken();
    struct pollfd wanted = {fd, POLLIN, 0};
    SHOW(syscall(SYS_poll, &wanted, 1, 5000));
    SHOW(syscall(SYS_read, fd, bytes, 1));
    SHOW(syscall(SYS_write, fd, "+", 1));
    SHOW(syscall(SYS_recvfrom, fd, bytes, 1, 0, NULL, NULL));
    SHOW(syscall(SYS_sendto, fd, "+", 1, MSG_NOSIGNAL, NULL, 0));
    SHOW(syscall(SYS_shutdown, fd, SHUT_WR));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    put(fd, "a");
    await_sign(fd);
    put(fd, "b");
    await_sign(fd);
    drain(fd);
}
