// kind: dup2 over a connection ends it, and dup2 of a connection keeps it
#define PEER
#include "odd.h"

static void odd(void) {
    int fd = taken(), null = open("/dev/null", O_RDWR);
    put(fd, "+");
    SHOW(dup2(null, fd) == fd);
    SHOW(write(fd, "nowhere", 7));
    SHOW(close(fd));
    fd = taken();
    SHOW(dup2(fd, 0));
    SHOW(close(fd));
    SHOW(write(0, "by 0", 4));
    SHOW(close(0));
}

static void peer(void) {
    int fd = dial();
    MUST(drain(fd) == 1);
    close(fd);
    fd = dial();
    MUST(drain(fd) == 4);
}
