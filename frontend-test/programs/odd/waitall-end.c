// kind: MSG_WAITALL cut short by the end of the connection
#define PEER
#include "odd.h"

static void odd(void) {
    char bytes[64];
    int fd = taken();
    SHOW(recv(fd, bytes, 64, MSG_WAITALL));
    SHOW(recv(fd, bytes, 64, MSG_WAITALL));
    SHOW(recv(fd, bytes, 64, MSG_WAITALL | MSG_DONTWAIT));
}

static void peer(void) {
    int fd = dial();
    put(fd, "0123456789");
    close(fd);
}
