// kind: descriptors get the lowest free number
#define PEER
#include "odd.h"

static void odd(void) {
    int first = taken();
    await_sign(first);
    /* The numbers of inherited descriptors differ, so the test uses numbers above them. */
    while (dup(0) < 100) {}
    int a = dup(0), b = dup(0), c = dup(0);
    SHOW(b - a);
    SHOW(c - b);
    close(b);
    int fd = taken();
    SHOW(fd == b);
    close(a);
    SHOW(eventfd(0, 0) == a);
    close(fd);
    SHOW(epoll_create1(0) == b);
    SHOW(open("/dev/null", O_RDONLY) - c);
    close(first);
}

static void peer(void) {
    int one = dial(), two = dial();
    put(one, "+");
    drain(one);
    drain(two);
}
