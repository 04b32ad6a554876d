// call: futex
// expect: in-kernel
// via: syscall
#include "stuck.h"

static int word;

static void stick(void) {
    syscall(SYS_futex, &word, 9 /* FUTEX_WAIT_BITSET */, 0, NULL, NULL, 0xffffffff);
}
