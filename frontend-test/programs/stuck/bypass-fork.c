// call: fork
// expect: bypass
// via: inline
#include "stuck.h"

static void stick(void) {
    long child = RAW(SYS_fork, 0, 0, 0, 0, 0, 0);
    if (child == 0) RAW(SYS_exit_group, 0, 0, 0, 0, 0, 0);
    MUST(child > 0 && RAW(SYS_wait4, child, NULL, 0, NULL, 0, 0) == child);
}
