// call: accept4
// expect: in-kernel
// via: inline
#include "stuck.h"

static void stick(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = RAW(SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0, 0);
    MUST(fd >= 0 && RAW(SYS_bind, fd, &at, sizeof at, 0, 0, 0) == 0);
    MUST(RAW(SYS_listen, fd, 1, 0, 0, 0, 0) == 0);
    RAW(SYS_accept4, fd, NULL, NULL, 0, 0, 0);
}
