// call: read
// expect: in-kernel
// via: libc
// needs: a child that holds the pipe's other end
#include "stuck.h"

static void stick(void) {
    int ends[2];
    char byte;
    MUST(pipe(ends) == 0);
    MUST(idle_child() > 0);
    close(ends[1]);
    MUST(read(ends[0], &byte, 1) == 1);
}
