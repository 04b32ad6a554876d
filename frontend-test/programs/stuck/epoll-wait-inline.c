// call: epoll_wait
// expect: in-kernel
// via: inline
#include "stuck.h"
#include <sys/epoll.h>

static void stick(void) {
    struct epoll_event event;
    int set = RAW(SYS_epoll_create1, 0, 0, 0, 0, 0, 0);
    MUST(set >= 0);
    RAW(SYS_epoll_wait, set, &event, 1, -1, 0, 0);
}
