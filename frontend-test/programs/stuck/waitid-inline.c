// call: waitid
// expect: in-kernel
// via: inline
// needs: a child that sleeps
#include "stuck.h"

static void stick(void) {
    pid_t child = idle_child();
    RAW(SYS_waitid, P_PID, child, NULL, WEXITED, NULL, 0);
}
