// call: clock_gettime
// expect: bypass
// via: inline
#include "stuck.h"

static void stick(void) {
    struct timespec now;
    MUST(RAW(SYS_clock_gettime, CLOCK_REALTIME, &now, 0, 0, 0, 0) == 0);
}
