// kind: quick_exit with at_quick_exit, without atexit
#include "odd.h"

static void quickly(void) { say("quickly\n"); }
static void never(void) { say("never\n"); }

static void odd(void) {
    SHOW(atexit(never));
    SHOW(at_quick_exit(quickly));
    quick_exit(0);
}
