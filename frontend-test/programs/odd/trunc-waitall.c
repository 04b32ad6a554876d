// kind: MSG_TRUNC with MSG_WAITALL throws away more than a window holds
#define PEER
#include "odd.h"

static char bytes[200000];

static void peer(void) {
    int fd = dial();
    for (size_t sent = 0; sent < sizeof bytes;) {
        ssize_t part = send(fd, bytes + sent, sizeof bytes - sent, MSG_NOSIGNAL);
        MUST(part > 0);
        sent += part;
    }
    put(fd, "the rest");
    await_sign(fd);
    close(fd);
}

static void odd(void) {
    char rest[16] = "";
    int fd = taken();
    SHOW(recv(fd, NULL, 100000, MSG_TRUNC | MSG_WAITALL));
    SHOW(recv(fd, bytes, 100000, MSG_TRUNC | MSG_WAITALL));
    SHOW(recv(fd, rest, 8, MSG_WAITALL));
    say("%s\n", rest);
    put(fd, "1");
    SHOW(recv(fd, rest, 8, MSG_WAITALL));
}
