// call: futex
// expect: in-kernel
// via: inline
#include "stuck.h"

static int word;

static void stick(void) { RAW(SYS_futex, &word, 0 /* FUTEX_WAIT */, 0, 0, 0, 0); }
