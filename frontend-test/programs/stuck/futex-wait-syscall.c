// call: futex
// expect: in-kernel
// via: syscall
#include "stuck.h"

static int word;

static void stick(void) { syscall(SYS_futex, &word, 0 /* FUTEX_WAIT */, 0, NULL, NULL, 0); }
