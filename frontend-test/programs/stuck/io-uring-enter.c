// call: io_uring_enter
// expect: in-kernel
// via: syscall
// If the kernel refuses rings, stick() returns and the program answers.
#include "stuck.h"
#include <linux/io_uring.h>

static void stick(void) {
    struct io_uring_params settings = {0};
    long ring = syscall(SYS_io_uring_setup, 4, &settings);
    if (ring >= 0) syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
}
