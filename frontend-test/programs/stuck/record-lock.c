// call: fcntl
// expect: in-kernel
// via: libc
// needs: a child that holds the lock
#include "stuck.h"

static void stick(void) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int ready[2], fd = open("lock", O_RDWR | O_CREAT, 0600);
    char byte;
    MUST(fd >= 0 && pipe(ready) == 0);
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        fcntl(fd, F_SETLK, &lock);
        write(ready[1], "", 1);
        for (;;) pause();
    }
    MUST(read(ready[0], &byte, 1) == 1);
    MUST(fcntl(fd, F_SETLKW, &lock) == 0);
}
