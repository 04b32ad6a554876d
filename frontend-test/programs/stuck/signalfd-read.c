// call: read
// expect: in-kernel
// via: libc
#include "stuck.h"
#include <sys/signalfd.h>

static void stick(void) {
    struct signalfd_siginfo seen;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, 0);
    MUST(fd >= 0);
    MUST(read(fd, &seen, sizeof seen) == sizeof seen);
}
