// call: mkdir
// expect: bypass
// via: inline
#include "stuck.h"

static void stick(void) {
    RAW(SYS_rmdir, "made", 0, 0, 0, 0, 0);
    MUST(RAW(SYS_mkdir, "made", 0700, 0, 0, 0, 0) == 0);
}
