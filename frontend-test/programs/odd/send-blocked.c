// kind: a nonblocking connection whose peer does not read: EAGAIN, then POLLOUT
#define PEER
#include "odd.h"

static void odd(void) {
    static char bytes[65536];
    long sum = 0;
    int fd = taken();
    await_sign(fd);
    SHOW(fcntl(fd, F_SETFL, O_NONBLOCK));
    while (sum < 64 << 20) {
        ssize_t sent = send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
        if (sent < 0) {
            say("%s\n", strerrorname_np(errno));
            break;
        }
        sum += sent;
    }
    say("below 64 MiB %d\n", sum < 64 << 20);
    struct pollfd wanted = {fd, POLLOUT, 0};
    SHOW(poll(&wanted, 1, 5000));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    put(fd, "!");
    usleep(500000);
    drain(fd);
}
