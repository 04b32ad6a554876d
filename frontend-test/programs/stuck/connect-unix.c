// call: connect
// expect: in-kernel
// via: libc
#include "stuck.h"
#include <stddef.h>
#include <sys/un.h>

static void stick(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1 +
                     snprintf(at.sun_path + 1, 64, "stuck-%d", (int)getpid());
    int listener = RAW(SYS_socket, AF_UNIX, SOCK_STREAM, 0, 0, 0, 0);
    MUST(listener >= 0 && RAW(SYS_bind, listener, &at, size, 0, 0, 0) == 0);
    MUST(RAW(SYS_listen, listener, 0, 0, 0, 0, 0) == 0);
    for (int i = 0; i < 2; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        MUST(connect(fd, (struct sockaddr *)&at, size) == 0);
    }
}
