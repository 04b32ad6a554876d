// call: rt_sigtimedwait
// expect: in-kernel
// via: inline
#include "stuck.h"

static void stick(void) {
    struct timespec hour = {3600, 0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    RAW(SYS_rt_sigtimedwait, &set, NULL, &hour, 8, 0, 0);
}
