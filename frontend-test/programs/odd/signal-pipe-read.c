// kind: a self-pipe written by SIGALRM's handler wakes read, which is restarted
#include "odd.h"

static int ends[2];

static void wake(int number) { MUST(write(ends[1], "x", 1) == 1); }

static void odd(void) {
    char byte;
    MUST(pipe(ends) == 0);
    handle(SIGALRM, wake, SA_RESTART);
    alarm_in(50);
    SHOW(read(ends[0], &byte, 1));
}
