// call: recvfrom
// expect: in-kernel
// via: libc
#include "stuck.h"

static void stick(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char byte;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
    MUST(recv(fd, &byte, 1, 0) >= 0);
}
