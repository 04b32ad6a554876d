// call: rt_sigsuspend
// expect: in-kernel
// via: inline
#include "stuck.h"

static void stick(void) {
    sigset_t none;
    sigemptyset(&none);
    RAW(SYS_rt_sigsuspend, &none, 8, 0, 0, 0, 0);
}
