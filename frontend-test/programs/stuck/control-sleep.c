// call: -
// expect: none
// via: libc
#include "stuck.h"

static void stick(void) { sleep(4); }
