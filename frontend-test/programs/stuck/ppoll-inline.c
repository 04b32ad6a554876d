// call: ppoll
// expect: in-kernel
// via: inline
#include "stuck.h"

static void stick(void) {
    int ends[2];
    MUST(RAW(SYS_pipe2, ends, 0, 0, 0, 0, 0) == 0);
    struct pollfd wanted = {ends[0], POLLIN, 0};
    RAW(SYS_ppoll, &wanted, 1, NULL, NULL, 0, 0);
}
