// kind: a self-pipe written by SIGALRM's handler wakes select
#include "odd.h"

static int ends[2];

static void wake(int number) { MUST(write(ends[1], "x", 1) == 1); }

static void odd(void) {
    fd_set set;
    MUST(pipe(ends) == 0);
    handle(SIGALRM, wake, 0);
    alarm_in(50);
    for (int i = 0; i < 2; i++) {
        struct timeval limit = {5, 0};
        FD_ZERO(&set);
        FD_SET(ends[0], &set);
        SHOW(select(ends[0] + 1, &set, NULL, NULL, &limit));
    }
    say("readable %d\n", FD_ISSET(ends[0], &set));
}
