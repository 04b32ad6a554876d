// call: openat
// expect: in-kernel
// via: libc
#include "stuck.h"

static void stick(void) {
    MUST(mkfifo("fifo", 0600) == 0 || errno == EEXIST);
    MUST(open("fifo", O_WRONLY) >= 0);
}
