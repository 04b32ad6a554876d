// kind: MSG_DONTWAIT, O_NONBLOCK and SOCK_NONBLOCK without bytes to read
#define PEER
#include "odd.h"

static void odd(void) {
    char bytes[16];
    SHOW(fcntl(listener, F_SETFL, O_NONBLOCK));
    struct pollfd wanted = {listener, POLLIN, 0};
    SHOW(poll(&wanted, 1, -1));
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    SHOW(fcntl(fd, F_GETFL) & O_NONBLOCK ? 1 : 0);
    SHOW(fcntl(fd, F_GETFD));
    SHOW(recv(fd, bytes, 1, 0));
    SHOW(read(fd, bytes, 1));
    SHOW(accept(listener, NULL, NULL));
    SHOW(fcntl(fd, F_SETFL, 0));
    SHOW(recv(fd, bytes, 1, MSG_DONTWAIT));
    put(fd, "+");
    SHOW(recv(fd, bytes, 1, 0));
    close(fd);
}

static void peer(void) { answer_sign(dial(), "x"); }
