// kind: a connection that its peer resets
#define PEER
#include "odd.h"

static void odd(void) {
    char bytes[8];
    int fd = taken();
    SHOW(read(fd, bytes, 1));
    put(fd, "+");
    SHOW(read(fd, bytes, 1));
    SHOW(read(fd, bytes, 1));
    SHOW(send(fd, "x", 1, MSG_NOSIGNAL));
    close(fd);
}

static void peer(void) {
    struct linger at_once = {1, 0};
    int fd = dial();
    put(fd, "!");
    await_sign(fd);
    MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close(fd);
}
