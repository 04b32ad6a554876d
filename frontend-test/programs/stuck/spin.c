// call: -
// expect: computes
// via: inline
#include "stuck.h"

static volatile unsigned long turns;

static void stick(void) { for (;;) turns++; }
