// call: nanosleep
// expect: in-kernel
// via: inline
#include "stuck.h"

static void stick(void) {
    struct timespec hour = {3600, 0};
    RAW(SYS_nanosleep, &hour, NULL, 0, 0, 0, 0);
}
