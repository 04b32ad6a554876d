// call: tee
// expect: in-kernel
// via: libc
#include "stuck.h"

static void stick(void) {
    int from[2], to[2];
    MUST(pipe(from) == 0 && pipe(to) == 0);
    MUST(tee(from[0], to[1], 1, 0) >= 0);
}
