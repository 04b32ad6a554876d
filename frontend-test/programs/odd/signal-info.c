// kind: sigqueue brings its value to an SA_SIGINFO handler
#include "odd.h"

static void told(int number, siginfo_t *info, void *context) {
    say("value %d, queued %d, own %d\n", info->si_value.sival_int, info->si_code == SI_QUEUE,
        info->si_pid == getpid());
}

static void odd(void) {
    struct sigaction action = {.sa_sigaction = told, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGRTMIN + 1, &action, NULL) == 0);
    for (int i = 1; i <= 3; i++) SHOW(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){i}));
}
