// kind: ppoll lets a pending signal in by its mask
#include "odd.h"

static volatile sig_atomic_t seen;

static void count(int number) { seen++; }

static void odd(void) {
    sigset_t set, none;
    sigemptyset(&none);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    handle(SIGUSR1, count, 0);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    say("before %d\n", (int)seen);
    struct pollfd wanted = {listener, POLLIN, 0};
    SHOW(ppoll(&wanted, 1, &(struct timespec){1, 0}, &none));
    say("after %d\n", (int)seen);
}
