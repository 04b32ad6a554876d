// kind: SA_RESTART continues recv on a connection after the handler
#define PEER
#include "odd.h"

static volatile sig_atomic_t seen;

static void count(int number) { seen++; }

static void odd(void) {
    char byte;
    int fd = taken();
    handle(SIGALRM, count, SA_RESTART);
    alarm_in(50);
    SHOW(recv(fd, &byte, 1, 0));
    say("handled %d\n", (int)seen);
    close(fd);
}

static void peer(void) {
    int fd = dial();
    usleep(300000);
    put(fd, "x");
    drain(fd);
}
