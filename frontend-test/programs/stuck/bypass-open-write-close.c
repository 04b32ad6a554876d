// call: openat
// expect: bypass
// via: inline
#include "stuck.h"

static void stick(void) {
    int fd = RAW(SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY, 0, 0, 0);
    MUST(fd >= 0 && RAW(SYS_write, fd, "x", 1, 0, 0, 0) == 1);
    MUST(RAW(SYS_close, fd, 0, 0, 0, 0, 0) == 0);
}
