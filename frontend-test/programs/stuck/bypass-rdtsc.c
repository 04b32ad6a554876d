// call: rdtsc
// expect: bypass
// via: inline
#include "stuck.h"
#include <x86intrin.h>

static void stick(void) {
    MUST(__rdtsc() != 0);
}
