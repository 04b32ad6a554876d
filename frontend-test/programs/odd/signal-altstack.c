// kind: a handler on a stack of its own
#include "odd.h"

static char stack[65536];
static volatile int inside;

static void look(int number) {
    char here;
    inside = &here >= stack && &here < stack + sizeof stack;
}

static void odd(void) {
    stack_t own = {.ss_sp = stack, .ss_size = sizeof stack}, old;
    SHOW(sigaltstack(&own, NULL));
    handle(SIGUSR1, look, SA_ONSTACK);
    SHOW(raise(SIGUSR1));
    say("inside %d\n", inside);
    SHOW(sigaltstack((void *)8, NULL));
    SHOW(sigaltstack(NULL, (void *)8));
    SHOW(sigaltstack(NULL, &old));
    say("%d\n", old.ss_flags);
}
