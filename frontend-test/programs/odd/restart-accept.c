// kind: SA_RESTART continues accept after the handler
#define PEER
#include "odd.h"

static volatile sig_atomic_t seen;

static void count(int number) { seen++; }

static void odd(void) {
    int first = taken();
    handle(SIGALRM, count, SA_RESTART);
    alarm_in(50);
    int fd = taken();
    say("handled %d\n", (int)seen);
    close(fd);
    close(first);
}

static void peer(void) {
    int first = dial();
    usleep(300000);
    int fd = dial();
    drain(fd);
    drain(first);
}
