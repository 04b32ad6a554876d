// call: gettid
// expect: bypass
// via: inline
#include "stuck.h"

static void stick(void) { MUST(RAW(SYS_gettid, 0, 0, 0, 0, 0, 0) > 0); }
