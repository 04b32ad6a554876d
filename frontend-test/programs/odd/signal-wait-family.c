// kind: sigwait, sigwaitinfo and sigtimedwait with a signal from another thread
#include "odd.h"

static void *send_three(void *argument) {
    for (int i = 0; i < 3; i++) {
        usleep(50000);
        kill(getpid(), SIGUSR1);
    }
    return argument;
}

static void odd(void) {
    sigset_t set;
    int number = 0;
    siginfo_t seen;
    pthread_t thread;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    SHOW(sigtimedwait(&set, NULL, &(struct timespec){0, 20000000}));
    SHOW(sigtimedwait(&set, NULL, &(struct timespec){0, 0}));
    start(&thread, send_three, NULL);
    SHOW(sigwait(&set, &number));
    say("%d\n", number == SIGUSR1);
    SHOW(sigwaitinfo(&set, &seen));
    say("by itself %d\n", seen.si_pid == getpid());
    SHOW(sigtimedwait(&set, &seen, &(struct timespec){5, 0}));
    pthread_join(thread, NULL);
}
