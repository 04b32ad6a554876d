// call: wait4
// expect: in-kernel
// via: inline
// needs: a child that sleeps
#include "stuck.h"

static void stick(void) {
    pid_t child = idle_child();
    RAW(SYS_wait4, child, NULL, 0, NULL, 0, 0);
}
