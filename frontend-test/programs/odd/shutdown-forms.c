// kind: shutdown of each side, and the results of later calls
#define PEER
#include "odd.h"

static void odd(void) {
    char bytes[8];
    int fd = taken();
    SHOW(shutdown(fd, 99));
    SHOW(shutdown(fd, SHUT_RD));
    SHOW(recv(fd, bytes, 1, 0));
    SHOW(send(fd, "+", 1, MSG_NOSIGNAL));
    SHOW(shutdown(fd, SHUT_WR));
    SHOW(send(fd, "+", 1, MSG_NOSIGNAL));
    struct pollfd wanted = {fd, POLLIN | POLLOUT, 0};
    SHOW(poll(&wanted, 1, 1000));
    say("hup %d\n", !!(wanted.revents & POLLHUP));
    close(fd);
    fd = taken();
    SHOW(shutdown(fd, SHUT_WR));
    SHOW(drain(fd));
    SHOW(shutdown(socket(AF_INET, SOCK_STREAM, 0), SHUT_WR));
    SHOW(shutdown(1000, SHUT_WR));
}

static void peer(void) {
    int fd = dial();
    await_sign(fd);
    MUST(drain(fd) == 0);
    close(fd);
    fd = dial();
    MUST(drain(fd) == 0);
    put(fd, "after the end");
    close(fd);
}
