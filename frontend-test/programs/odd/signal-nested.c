// kind: handlers that are interrupted by handlers, a hundred deep, on both kinds of stack
#include "odd.h"

#define DEEP 100

static int ends[2];
static volatile int depth, deepest, calls;

static void nest(int number) {
    char byte = 'x';
    depth++;
    if (depth > deepest) deepest = depth;
    calls += write(ends[1], &byte, 1);
    if (depth < DEEP) raise(depth % 2 ? SIGUSR2 : SIGUSR1);
    calls += read(ends[0], &byte, 1);
    depth--;
}

static void odd(void) {
    static char stack[1 << 20];
    stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    MUST(pipe(ends) == 0);
    for (int flags = 0; flags < 2; flags++) {
        handle(SIGUSR1, nest, SA_NODEFER | (flags ? SA_ONSTACK : 0));
        handle(SIGUSR2, nest, SA_NODEFER | (flags ? SA_ONSTACK : 0));
        if (flags) MUST(sigaltstack(&own, NULL) == 0);
        deepest = calls = 0;
        for (int i = 0; i < 20; i++) MUST(raise(SIGUSR1) == 0);
        say("%d deep, %d calls, %d left\n", deepest, calls, depth);
    }
    // The masks are as they were.
    sigset_t blocked;
    MUST(sigprocmask(SIG_BLOCK, NULL, &blocked) == 0);
    SHOW(sigismember(&blocked, SIGUSR1));
    SHOW(sigismember(&blocked, SIGUSR2));
}
