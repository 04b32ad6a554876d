// call: vmsplice
// expect: in-kernel
// via: libc
#include "stuck.h"
#include <sys/uio.h>

static void stick(void) {
    int ends[2];
    struct iovec part = {"x", 1};
    MUST(pipe(ends) == 0);
    fill(ends[1]);
    MUST(vmsplice(ends[1], &part, 1, 0) >= 0);
}
