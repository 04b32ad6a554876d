// call: mkdir
// expect: bypass
// via: inline
#include "stuck.h"

static void stick(void) {
    long made = RAW(SYS_mkdir, "made", 0700, 0, 0, 0, 0);
    MUST(made == 0 || made == -EEXIST);
}
