// call: splice
// expect: in-kernel
// via: libc
#include "stuck.h"

static void stick(void) {
    int from[2], to[2];
    MUST(pipe(from) == 0 && pipe(to) == 0);
    MUST(splice(from[0], NULL, to[1], NULL, 1, 0) >= 0);
}
