// kind: dprintf to a connection
#define PEER
#include "odd.h"

static void odd(void) {
    int fd = taken();
    SHOW(dprintf(fd, "%s %d\n", "number", 42));
    close(fd);
}

static void peer(void) {
    char bytes[16] = "";
    int fd = dial();
    get(fd, bytes, 10);
    MUST(!strcmp(bytes, "number 42\n"));
    drain(fd);
}
