// call: read
// expect: in-kernel
// via: inline
#include "stuck.h"

static void stick(void) {
    uint64_t value;
    int fd = RAW(SYS_eventfd2, 0, 0, 0, 0, 0, 0);
    MUST(fd >= 0);
    RAW(SYS_read, fd, &value, sizeof value, 0, 0, 0);
}
