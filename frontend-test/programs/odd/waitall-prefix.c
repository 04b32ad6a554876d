// kind: length-prefixed messages read by MSG_WAITALL, the prefix first
#define PEER
#include "odd.h"

static void odd(void) {
    static char bytes[1 << 20];
    int fd = taken();
    uint32_t size;
    while (recv(fd, &size, sizeof size, MSG_WAITALL) == sizeof size) {
        long got = recv(fd, bytes, size, MSG_WAITALL);
        say("%u: %ld\n", size, got);
        put(fd, "+");
    }
}

static void peer(void) {
    static char bytes[1 << 20];
    int fd = dial();
    for (uint32_t size = 1; size <= 1 << 20; size = size * 3 + 1) {
        MUST(send(fd, &size, sizeof size, MSG_NOSIGNAL) == sizeof size);
        for (uint32_t k = 0; k < size;) k += send(fd, bytes + k, size - k, MSG_NOSIGNAL);
        await_sign(fd);
    }
    close(fd);
}
