// call: pause
// expect: in-kernel
// via: libc
#include "stuck.h"

static void stick(void) { pause(); }
