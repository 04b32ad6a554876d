// call: pselect6
// expect: in-kernel
// via: inline
#include "stuck.h"
#include <sys/select.h>

static void stick(void) {
    int ends[2];
    fd_set set;
    MUST(RAW(SYS_pipe2, ends, 0, 0, 0, 0, 0) == 0);
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    RAW(SYS_pselect6, ends[0] + 1, &set, NULL, NULL, NULL, NULL);
}
