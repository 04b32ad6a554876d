// call: flock
// expect: in-kernel
// via: libc
#include "stuck.h"
#include <sys/file.h>

static void stick(void) {
    int first = open("lock", O_RDWR | O_CREAT, 0600), second = open("lock", O_RDWR);
    MUST(first >= 0 && second >= 0);
    MUST(flock(first, LOCK_EX) == 0);
    MUST(flock(second, LOCK_EX) == 0);
}
