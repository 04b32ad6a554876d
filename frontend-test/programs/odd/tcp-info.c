// kind: TCP_INFO and other TCP options of a connection and of a listener
#define PEER
#include "odd.h"

static int option(int fd, int level, int name) {
    int value = -7;
    socklen_t size = sizeof value;
    return getsockopt(fd, level, name, &value, &size) ? -errno : value;
}

static void odd(void) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    int fd = taken(), one = 1;
    memset(&info, 0, sizeof info);
    SHOW(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size));
    say("state %d\n", info.tcpi_state == TCP_ESTABLISHED);
    size = sizeof info;
    SHOW(getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &size));
    say("state %d\n", info.tcpi_state == TCP_LISTEN);
    SHOW(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    SHOW(option(fd, IPPROTO_TCP, TCP_NODELAY) != 0);
    SHOW(setsockopt(fd, IPPROTO_TCP, TCP_CORK, &one, sizeof one));
    SHOW(option(fd, IPPROTO_TCP, TCP_CORK));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one));
    SHOW(option(fd, SOL_SOCKET, SO_KEEPALIVE));
    SHOW(setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){77}, sizeof(int)));
    SHOW(option(fd, IPPROTO_TCP, TCP_KEEPIDLE));
    SHOW(setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one));
    SHOW(setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &(int){5000}, sizeof(int)));
    SHOW(setsockopt(fd, IPPROTO_TCP, 9999, &one, sizeof one));
    SHOW(setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &one, sizeof one));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    drain(fd);
}
