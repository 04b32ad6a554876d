// call: futex
// expect: in-kernel
// via: inline
#include "stuck.h"

static int word;

static void stick(void) {
    RAW(SYS_futex, &word, 9 /* FUTEX_WAIT_BITSET */, 0, 0, 0, 0xffffffff);
}
