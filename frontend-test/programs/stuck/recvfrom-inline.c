// call: recvfrom
// expect: in-kernel
// via: inline
#include "stuck.h"

static void stick(void) {
    int ends[2];
    char byte;
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    RAW(SYS_recvfrom, ends[0], &byte, 1, 0, NULL, NULL);
}
