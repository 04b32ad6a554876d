// call: rt_sigsuspend
// expect: in-kernel
// via: libc
#include "stuck.h"

static void stick(void) {
    sigset_t none;
    sigemptyset(&none);
    sigsuspend(&none);
}
