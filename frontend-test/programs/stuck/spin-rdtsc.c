// call: -
// expect: computes
// via: inline
#include "stuck.h"
#include <x86intrin.h>

static void stick(void) {
    uint64_t start = __rdtsc();
    while (__rdtsc() - start < 1ull << 60) {}
}
