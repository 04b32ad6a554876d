// call: read
// expect: in-kernel
// via: libc
#include "stuck.h"

static void stick(void) {
    char byte;
    MUST(mkfifo("fifo", 0600) == 0 || errno == EEXIST);
    int fd = open("fifo", O_RDWR);
    MUST(fd >= 0);
    MUST(read(fd, &byte, 1) == 1);
}
