// call: getrandom
// expect: bypass
// via: syscall
#include "stuck.h"

static void stick(void) {
    char bytes[16];
    MUST(syscall(SYS_getrandom, bytes, sizeof bytes, 0) == sizeof bytes);
}
