// call: futex
// expect: in-kernel
// via: inline
#include "stuck.h"

static int word;

static void stick(void) { RAW(SYS_futex, &word, 128 /* private FUTEX_WAIT */, 0, NULL, NULL, 0); }
