// call: futex_waitv
// expect: in-kernel
// via: inline
#include "stuck.h"

static uint32_t word;

static void stick(void) {
    struct { uint64_t value, address; uint32_t flags, reserved; } one =
        {0, (uintptr_t)&word, 2 /* 32 bits */, 0};
    MUST(RAW(449, &one, 1, 0, NULL, 0, 0) != -ENOSYS);
}
