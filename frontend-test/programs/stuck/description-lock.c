// call: fcntl
// expect: in-kernel
// via: libc
#include "stuck.h"

static void stick(void) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int first = open("lock", O_RDWR | O_CREAT, 0600), second = open("lock", O_RDWR);
    MUST(first >= 0 && second >= 0);
    MUST(fcntl(first, F_OFD_SETLKW, &lock) == 0);
    MUST(fcntl(second, F_OFD_SETLKW, &lock) == 0);
}
