// kind: SA_RESETHAND, SA_NODEFER, masks of handlers, ignored signals
#include "odd.h"

static volatile sig_atomic_t depth, deepest;

static void nest(int number) {
    if (++depth > deepest) deepest = depth;
    if (depth < 3) raise(number);
    depth--;
}

static void odd(void) {
    struct sigaction seen;
    handle(SIGUSR1, nest, SA_NODEFER);
    SHOW(raise(SIGUSR1));
    say("deepest %d\n", (int)deepest);
    deepest = 0;
    handle(SIGUSR2, nest, SA_RESETHAND);
    depth = 2;
    SHOW(raise(SIGUSR2));
    SHOW(sigaction(SIGUSR2, NULL, &seen));
    say("default %d, flags %x\n", seen.sa_handler == SIG_DFL, seen.sa_flags & ~0x04000000);
    handle(SIGUSR1, SIG_IGN, 0);
    SHOW(raise(SIGUSR1));
    SHOW(sigaction(SIGKILL, &seen, NULL));
    SHOW(kill(getpid(), 0));
    SHOW(kill(getpid(), 999));
    SHOW(kill(0x3fffffff, 0));
}
