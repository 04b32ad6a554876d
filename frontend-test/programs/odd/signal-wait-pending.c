// kind: the sigwait family with a signal that is pending
#include "odd.h"

static void odd(void) {
    sigset_t set, pending;
    int number = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    SHOW(raise(SIGUSR1));
    SHOW(kill(getpid(), SIGUSR2));
    SHOW(sigpending(&pending));
    say("%d %d\n", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGUSR2));
    SHOW(sigwait(&set, &number));
    say("%d\n", number);
    SHOW(sigwaitinfo(&set, NULL));
    SHOW(sigtimedwait(&set, NULL, &(struct timespec){0, 0}));
}
