// kind: sigsuspend and pause wake by a signal from another thread
#include "odd.h"

static volatile sig_atomic_t seen;

static void count(int number) { seen++; }

static void *send_two(void *argument) {
    for (int i = 0; i < 2; i++) {
        usleep(50000);
        kill(getpid(), SIGUSR1);
        while (seen <= i) usleep(1000);
    }
    return argument;
}

static void odd(void) {
    sigset_t set, none;
    pthread_t thread;
    handle(SIGUSR1, count, 0);
    sigemptyset(&none);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    start(&thread, send_two, NULL);
    SHOW(sigsuspend(&none));
    SHOW(sigsuspend(&none));
    say("%d\n", (int)seen);
    pthread_join(thread, NULL);
}
