// call: sched_yield
// expect: computes
// via: inline
#include "stuck.h"

static void stick(void) { for (;;) RAW(SYS_sched_yield, 0, 0, 0, 0, 0, 0); }
