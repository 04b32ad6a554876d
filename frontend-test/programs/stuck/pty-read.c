// call: read
// expect: in-kernel
// via: libc
#include "stuck.h"

static void stick(void) {
    char byte;
    int fd = posix_openpt(O_RDWR | O_NOCTTY);
    MUST(fd >= 0 && grantpt(fd) == 0 && unlockpt(fd) == 0);
    int other = open(ptsname(fd), O_RDWR | O_NOCTTY);
    MUST(other >= 0);
    MUST(read(other, &byte, 1) >= 0);
}
