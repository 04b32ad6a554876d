// call: connect
// expect: in-kernel
// via: libc
// The listener's queue is full and no thread accepts, so the kernel drops new connections.
#include "stuck.h"

static void stick(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = RAW(SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0, 0);
    MUST(listener >= 0 && RAW(SYS_bind, listener, &at, sizeof at, 0, 0, 0) == 0);
    MUST(RAW(SYS_listen, listener, 0, 0, 0, 0, 0) == 0);
    MUST(RAW(SYS_getsockname, listener, &at, &size, 0, 0, 0) == 0);
    for (int i = 0; i < 3; i++) {
        int fd = RAW(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0, 0, 0, 0);
        RAW(SYS_connect, fd, &at, sizeof at, 0, 0, 0);
        usleep(50000);
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    MUST(connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
}
