// call: write
// expect: in-kernel
// via: inline
#include "stuck.h"

static void stick(void) {
    int ends[2];
    MUST(pipe(ends) == 0);
    fill(ends[1]);
    RAW(SYS_write, ends[1], "x", 1, 0, 0, 0);
}
