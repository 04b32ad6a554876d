// kind: setitimer repeats, getitimer shows the timer, alarm returns the time left
#include "odd.h"

static volatile sig_atomic_t seen;

static void count(int number) { seen++; }

static void odd(void) {
    struct itimerval timer = {{0, 20000}, {0, 20000}}, old;
    handle(SIGALRM, count, SA_RESTART);
    SHOW(setitimer(ITIMER_REAL, &timer, NULL));
    while (seen < 5) pause();
    SHOW(getitimer(ITIMER_REAL, &old));
    say("%ld\n", (long)old.it_interval.tv_usec);
    memset(&timer, 0, sizeof timer);
    SHOW(setitimer(ITIMER_REAL, &timer, NULL));
    SHOW(alarm(100));
    SHOW(alarm(0));
    SHOW(alarm(0));
}
