// kind: poll with negative, doubled and unopened descriptors, select beyond its open ones
#define PEER
#include "odd.h"

static void odd(void) {
    char byte;
    int fd = taken();
    await_sign(fd);
    put(fd, "+");
    struct pollfd set[] = {{-1, POLLIN, 7}, {fd, POLLIN, 0}, {-fd, POLLOUT, 7}, {fd, POLLOUT, 0},
                           {900, POLLIN, 0}, {fd, 0, 0}, {listener, POLLIN | POLLOUT, 0}};
    struct pollfd one = {fd, POLLIN, 0};
    SHOW(poll(&one, 1, 5000));
    SHOW(poll(set, 7, 0));
    for (int i = 0; i < 7; i++) say("%d: %d\n", i, set[i].revents);
    SHOW(poll(set, 1, 20));
    SHOW(poll(NULL, 0, 20));
    volatile nfds_t too_many = 1u << 30;
    SHOW(poll(set, too_many, 0));
    fd_set readable, writable;
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_SET(fd, &readable);
    FD_SET(fd, &writable);
    FD_SET(listener, &readable);
    struct timeval none = {0, 0};
    SHOW(select(FD_SETSIZE, &readable, &writable, NULL, &none));
    SHOW(FD_ISSET(fd, &readable) != 0);
    SHOW(FD_ISSET(fd, &writable) != 0);
    SHOW(FD_ISSET(listener, &readable) != 0);
    FD_SET(fd, &readable);
    SHOW(select(fd, &readable, NULL, NULL, &none));
    SHOW(select(-1, &readable, NULL, NULL, &none));
    FD_ZERO(&readable);
    int gone = dup(fd);
    MUST(gone >= 0 && close(gone) == 0);
    FD_SET(gone, &readable);
    SHOW(select(gone + 1, &readable, NULL, NULL, &none));
    struct timeval wrong = {-1, 0};
    FD_ZERO(&readable);
    SHOW(select(1, &readable, NULL, NULL, &wrong));
    SHOW(read(fd, &byte, 1));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    put(fd, "!");
    await_sign(fd);
    put(fd, "x");
    drain(fd);
}
