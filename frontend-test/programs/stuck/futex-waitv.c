// call: futex_waitv
// expect: in-kernel
// via: inline
// Cells have no call that is as new: stick() returns and the program answers.
#include "stuck.h"

static uint32_t word;

static void stick(void) {
    struct { uint64_t value, address; uint32_t flags, reserved; } one =
        {0, (uintptr_t)&word, 2 /* 32 bits */, 0};
    RAW(449, &one, 1, 0, NULL, 0, 0);
}
