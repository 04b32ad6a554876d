// call: -
// expect: none
// via: libc
// Computes for about 3 s, and then answers.
#include "stuck.h"

static volatile unsigned long sum;

static void stick(void) {
    for (unsigned long i = 0; i < 1600000000ul; i++) sum += i;
}
