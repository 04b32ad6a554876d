// call: rt_sigtimedwait
// expect: in-kernel
// via: libc
#include "stuck.h"

static void stick(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    MUST(sigwaitinfo(&set, NULL) == SIGUSR1);
}
