// call: clock_nanosleep
// expect: in-kernel
// via: syscall
#include "stuck.h"

static void stick(void) {
    struct timespec hour = {3600, 0};
    syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &hour, NULL);
}
