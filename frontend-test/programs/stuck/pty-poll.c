// call: poll
// expect: in-kernel
// via: libc
#include "stuck.h"

static void stick(void) {
    int fd = posix_openpt(O_RDWR | O_NOCTTY);
    MUST(fd >= 0 && grantpt(fd) == 0 && unlockpt(fd) == 0);
    MUST(open(ptsname(fd), O_RDWR | O_NOCTTY) >= 0);
    struct pollfd wanted = {fd, POLLIN, 0};
    MUST(poll(&wanted, 1, -1) == 1);
}
