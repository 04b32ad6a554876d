// call: wait4
// expect: in-kernel
// via: libc
// needs: a child that sleeps
#include "stuck.h"

static void stick(void) {
    pid_t child = idle_child();
    MUST(waitpid(child, NULL, 0) == child);
}
