// kind: EPIPE, SIGPIPE and MSG_NOSIGNAL after the peer has closed
#define PEER
#include "odd.h"

static volatile sig_atomic_t pipes;

static void count(int number) { pipes++; }

static void odd(void) {
    int fd = taken(), error = 0;
    handle(SIGPIPE, count, 0);
    SHOW(drain(fd));
    shutdown(fd, SHUT_WR);
    SHOW(send(fd, "x", 1, MSG_NOSIGNAL));
    say("signals %d\n", (int)pipes);
    SHOW(send(fd, "x", 1, 0));
    SHOW(write(fd, "x", 1));
    say("signals %d\n", (int)pipes);
    socklen_t size = sizeof error;
    SHOW(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
    close(fd);
    SHOW(send(fd, "x", 1, MSG_NOSIGNAL));
}

static void peer(void) {
    int fd = dial();
    put(fd, "bye");
    close(fd);
}
