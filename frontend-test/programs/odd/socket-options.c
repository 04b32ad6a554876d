// kind: SO_ERROR, SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ACCEPTCONN, SO_LINGER, buffers
#define PEER
#include "odd.h"

static int option(int fd, int name) {
    int value = -7;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) ? -errno : value;
}

static void odd(void) {
    int fd = taken(), of[] = {fd, listener};
    for (int i = 0; i < 2; i++) {
        SHOW(option(of[i], SO_ERROR));
        SHOW(option(of[i], SO_TYPE) == SOCK_STREAM);
        SHOW(option(of[i], SO_DOMAIN) == AF_INET);
        SHOW(option(of[i], SO_PROTOCOL) == IPPROTO_TCP);
        SHOW(option(of[i], SO_ACCEPTCONN));
        SHOW(option(of[i], SO_REUSEADDR));
        SHOW(option(of[i], SO_SNDBUF) > 0);
        SHOW(option(of[i], SO_RCVBUF) > 0);
    }
    struct linger linger = {1, 5}, seen = {0, 0};
    socklen_t size = sizeof seen;
    SHOW(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    SHOW(getsockopt(fd, SOL_SOCKET, SO_LINGER, &seen, &size));
    say("%d %d\n", seen.l_onoff, seen.l_linger);
    SHOW(getsockopt(fd, SOL_SOCKET, 9999, &seen, &size));
    SHOW(getsockopt(0, SOL_SOCKET, SO_TYPE, &seen, &size));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    drain(fd);
}
