// kind: a listener's duplicate accepts after the first descriptor was closed
#define PEER
#include "odd.h"

static void odd(void) {
    int copy = dup(listener);
    SHOW(close(listener));
    int fd = accept(copy, NULL, NULL);
    OK(fd);
    put(fd, "+");
    close(fd);
}

static void peer(void) {
    int fd = dial();
    await_sign(fd);
    drain(fd);
}
