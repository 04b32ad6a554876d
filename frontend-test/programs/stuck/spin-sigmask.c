// call: rt_sigprocmask
// expect: computes
// via: libc
#include "stuck.h"

static void stick(void) {
    sigset_t set;
    sigemptyset(&set);
    for (;;) pthread_sigmask(SIG_BLOCK, &set, NULL);
}
