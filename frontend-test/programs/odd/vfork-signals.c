// kind: children of vfork that exec or end, and handlers in the parent before and after
#include "odd.h"

static volatile int children, others;
static char stack[65536];

static void count(int number) {
    if (number == SIGCHLD) children++;
    else others++;
}

static void odd(void) {
    stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    int status;
    MUST(sigaltstack(&own, NULL) == 0);
    handle(SIGCHLD, count, SA_ONSTACK | SA_RESTART);
    handle(SIGUSR1, count, SA_ONSTACK);
    for (int i = 0; i < 20; i++) {
        MUST(raise(SIGUSR1) == 0);
        pid_t child = vfork();
        if (child == 0) {
            if (i % 2) execl("/bin/true", "true", NULL);
            _exit(7);
        }
        MUST(child > 0 && waitpid(child, &status, 0) == child);
        MUST(WIFEXITED(status) && WEXITSTATUS(status) == (i % 2 ? 0 : 7));
        MUST(raise(SIGUSR1) == 0);
    }
    say("%d others\n", others);
    say("some children %d\n", children > 0);
    SHOW(sigaltstack(NULL, &own));
    say("%d\n", own.ss_flags);
}
