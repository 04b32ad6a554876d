// kind: one write to a pipe without a reader raises SIGPIPE once
#include "odd.h"

static volatile sig_atomic_t pipes;

static void count(int number) { pipes++; }

static void odd(void) {
    int ends[2];
    MUST(pipe(ends) == 0);
    handle(SIGPIPE, count, 0);
    close(ends[0]);
    SHOW(write(ends[1], "x", 1));
    say("signals %d\n", (int)pipes);
}
