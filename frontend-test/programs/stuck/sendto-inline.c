// call: sendto
// expect: in-kernel
// via: inline
#include "stuck.h"

static void stick(void) {
    int ends[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    fill(ends[0]);
    RAW(SYS_sendto, ends[0], "x", 1, 0, NULL, 0);
}
