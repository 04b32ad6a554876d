// kind: epoll_pwait lets a pending signal in by its mask
#include "odd.h"

static volatile sig_atomic_t seen;

static void count(int number) { seen++; }

static void odd(void) {
    sigset_t set, none;
    struct epoll_event event;
    sigemptyset(&none);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    handle(SIGUSR1, count, 0);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    say("before %d\n", (int)seen);
    SHOW(epoll_pwait(epoll_create1(0), &event, 1, 1000, &none));
    say("after %d\n", (int)seen);
}
