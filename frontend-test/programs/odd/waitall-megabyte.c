// kind: MSG_WAITALL for 1 MiB
#define PEER
#include "odd.h"

static char bytes[1 << 20];

static void odd(void) {
    int fd = taken();
    SHOW(recv(fd, bytes, sizeof bytes, MSG_WAITALL));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    for (size_t sent = 0; sent < sizeof bytes;)
        sent += send(fd, bytes + sent, sizeof bytes - sent, MSG_NOSIGNAL);
    drain(fd);
}
