// kind: SO_RCVLOWAT with poll and recv, and SO_SNDLOWAT
#define PEER
#include "odd.h"

static void odd(void) {
    char bytes[16];
    int value = -1, fd = taken();
    socklen_t size = sizeof value;
    SHOW(getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &value, &size));
    say("%d\n", value);
    SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &(int){5}, sizeof value));
    SHOW(getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &value, &size));
    say("%d\n", value);
    SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &(int){0}, sizeof value));
    SHOW(getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &value, &size));
    say("%d\n", value);
    SHOW(setsockopt(fd, SOL_SOCKET, SO_SNDLOWAT, &(int){5}, sizeof value));
    SHOW(getsockopt(fd, SOL_SOCKET, SO_SNDLOWAT, &value, &size));
    say("%d\n", value);
    put(fd, "+");
    struct pollfd wanted = {fd, POLLIN, 0};
    SHOW(poll(&wanted, 1, 5000));
    SHOW(recv(fd, bytes, sizeof bytes, 0));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &(int){5}, sizeof value));
    put(fd, "+");
    SHOW(recv(fd, bytes, sizeof bytes, 0));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    await_sign(fd);
    put(fd, "abc");
    await_sign(fd);
    put(fd, "01234567");
    drain(fd);
}
