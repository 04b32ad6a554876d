// kind: killpg and kill(0) reach the process itself
#include "odd.h"

static volatile sig_atomic_t seen;

static void count(int number) { seen++; }

static void odd(void) {
    handle(SIGUSR1, count, SA_RESTART);
    MUST(setpgid(0, 0) == 0 || errno == EPERM);
    SHOW(killpg(getpgrp(), SIGUSR1));
    say("%d\n", (int)seen);
    SHOW(kill(0, SIGUSR1));
    say("%d\n", (int)seen);
}
