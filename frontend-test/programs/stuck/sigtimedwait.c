// call: rt_sigtimedwait
// expect: in-kernel
// via: libc
#include "stuck.h"

static void stick(void) {
    struct timespec hour = {3600, 0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    MUST(sigtimedwait(&set, NULL, &hour) == SIGUSR1);
}
