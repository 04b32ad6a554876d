// kind: a server that resets its client by SO_LINGER 0, and one that ends orderly after that
#define PEER
#include "odd.h"

static void odd(void) {
    struct linger at_once = {1, 0}, orderly = {0, 0};
    char bytes[64];
    for (int i = 0; i < 2; i++) {
        int fd = taken();
        SHOW(recv(fd, bytes, 4, MSG_WAITALL));
        SHOW(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
        if (i == 1) SHOW(setsockopt(fd, SOL_SOCKET, SO_LINGER, &orderly, sizeof orderly));
        put(fd, "+");
        await_sign(fd);
        SHOW(close(fd));
        int report = taken();
        ssize_t size = recv(report, bytes, sizeof bytes, 0);
        say("the client got %.*s\n", (int)size, bytes);
        close(report);
    }
}

static void peer(void) {
    char byte;
    for (int i = 0; i < 2; i++) {
        int fd = dial();
        put(fd, "text");
        await_sign(fd);
        put(fd, "!");
        const char *end = read(fd, &byte, 1) < 0 ? strerrorname_np(errno) : "the end";
        close(fd);
        int report = dial();
        put(report, end);
        drain(report);
        close(report);
    }
}
