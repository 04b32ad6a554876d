// call: recvmmsg
// expect: in-kernel
// via: inline
#include "stuck.h"
#include <sys/uio.h>

static void stick(void) {
    int ends[2];
    char byte;
    struct iovec part = {&byte, 1};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
    RAW(SYS_recvmmsg, ends[0], &message, 1, 0, NULL, 0);
}
