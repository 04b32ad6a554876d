// kind: SO_RCVTIMEO on a connection
#define PEER
#include "odd.h"

static void odd(void) {
    char bytes[16];
    int fd = taken();
    struct timeval limit = {0, 50000};
    SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    SHOW(recv(fd, bytes, 1, 0));
    SHOW(read(fd, bytes, 1));
    SHOW(recv(fd, bytes, 1, MSG_WAITALL));
    put(fd, "+");
    limit.tv_usec = 0;
    SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    SHOW(recv(fd, bytes, 1, 0));
    limit.tv_usec = 50000;
    SHOW(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    SHOW(accept(listener, NULL, NULL));
    close(fd);
}

static void peer(void) { answer_sign(dial(), "x"); }
