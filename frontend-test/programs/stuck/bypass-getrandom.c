// call: getrandom
// expect: bypass
// via: inline
#include "stuck.h"

static void stick(void) {
    char bytes[16];
    MUST(RAW(SYS_getrandom, bytes, sizeof bytes, 0, 0, 0, 0) == sizeof bytes);
}
