// kind: MSG_WAITALL for exactly 64 KiB
#define PEER
#include "odd.h"

static void odd(void) {
    static char bytes[65536];
    int fd = taken();
    SHOW(recv(fd, bytes, sizeof bytes, MSG_WAITALL));
    close(fd);
}

static void peer(void) {
    static char bytes[65536];
    int fd = dial();
    for (size_t sent = 0; sent < sizeof bytes;)
        sent += send(fd, bytes + sent, sizeof bytes - sent, MSG_NOSIGNAL);
    drain(fd);
}
