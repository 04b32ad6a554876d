// call: read
// expect: in-kernel
// via: inline
#include "stuck.h"

static void stick(void) {
    char byte;
    MUST(mkfifo("fifo", 0600) == 0 || errno == EEXIST);
    int fd = open("fifo", O_RDWR);
    MUST(fd >= 0);
    RAW(SYS_read, fd, &byte, 1, 0, 0, 0);
}
