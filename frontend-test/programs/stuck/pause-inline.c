// call: pause
// expect: in-kernel
// via: inline
#include "stuck.h"

static void stick(void) { RAW(SYS_pause, 0, 0, 0, 0, 0, 0); }
