// kind: TCP_NODELAY, TCP_CORK, TCP_QUICKACK, SO_SNDTIMEO, IP_TOS and others read back, as accepted
#define PEER
#include "odd.h"

static int of(int fd, int level, int name) {
    int value = -7;
    socklen_t size = sizeof value;
    return getsockopt(fd, level, name, &value, &size) ? -errno : value;
}

static int put_in(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) ? -errno : of(fd, level, name);
}

static void odd(void) {
    /* The peer dials again behind the end of this one, when the listener has its options. */
    int first = taken();
    MUST(setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) == 0);
    MUST(setsockopt(listener, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int)) == 0);
    close(first);
    int fd = taken();
    SHOW(of(fd, SOL_SOCKET, SO_KEEPALIVE));
    SHOW(of(fd, IPPROTO_TCP, TCP_NODELAY));
    SHOW(put_in(fd, IPPROTO_TCP, TCP_NODELAY, 0));
    SHOW(put_in(fd, IPPROTO_TCP, TCP_CORK, 1));
    SHOW(put_in(fd, IPPROTO_TCP, TCP_CORK, 0));
    SHOW(put_in(fd, IPPROTO_TCP, TCP_KEEPIDLE, 77));
    SHOW(put_in(fd, IPPROTO_TCP, TCP_KEEPCNT, 3));
    SHOW(put_in(fd, IPPROTO_TCP, TCP_KEEPIDLE, 0));
    SHOW(put_in(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000));
    SHOW(put_in(fd, IPPROTO_TCP, TCP_LINGER2, 9));
    SHOW(put_in(fd, IPPROTO_IP, IP_TOS, 0x10));
    SHOW(put_in(fd, IPPROTO_IP, IP_TTL, 33));
    SHOW(put_in(fd, IPPROTO_IP, IP_TTL, 999));
    SHOW(put_in(fd, SOL_SOCKET, SO_PRIORITY, 3));
    SHOW(put_in(fd, SOL_SOCKET, SO_OOBINLINE, 1));
    SHOW(put_in(fd, SOL_SOCKET, SO_DONTROUTE, 1));
    SHOW(put_in(fd, SOL_SOCKET, SO_BROADCAST, 1));
    SHOW(put_in(fd, SOL_SOCKET, SO_TIMESTAMP, 1));
    SHOW(put_in(fd, SOL_SOCKET, SO_TYPE, 1));
    SHOW(put_in(fd, IPPROTO_TCP, 9999, 1));
    SHOW(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(char){1}, 1));
    struct timeval limit = {1, 500000}, seen = {0, 0}, wrong = {1, 2000000};
    socklen_t size = sizeof seen;
    SHOW(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
    SHOW(getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &seen, &size));
    say("%d %d\n", (int)seen.tv_sec, (int)seen.tv_usec);
    SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wrong, sizeof wrong));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, 3));
    close(fd);
}

static void peer(void) {
    drain(dial());
    drain(dial());
}
