// call: clock_nanosleep
// expect: in-kernel
// via: inline
#include "stuck.h"

static void stick(void) {
    struct timespec hour = {3600, 0};
    RAW(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &hour, 0, 0, 0);
}
