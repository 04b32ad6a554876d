// call: read
// expect: in-kernel
// via: libc
#include "stuck.h"
#include <sys/inotify.h>

static void stick(void) {
    char events[512];
    int fd = inotify_init1(0);
    MUST(fd >= 0 && inotify_add_watch(fd, "/", IN_CREATE) >= 0);
    MUST(read(fd, events, sizeof events) > 0);
}
