// kind: 300 connections at a time, each answered by its own number
#define PEER
#include "odd.h"

#define MANY 300

static void odd(void) {
    static int fds[MANY];
    long sum = 0;
    for (int i = 0; i < MANY; i++) fds[i] = taken();
    for (int i = 0; i < MANY; i++) {
        unsigned char byte;
        get(fds[i], (char *)&byte, 1);
        sum += byte;
        put(fds[i], "+");
        close(fds[i]);
    }
    say("%ld\n", sum);
}

static void peer(void) {
    static int fds[MANY];
    for (int i = 0; i < MANY; i++) fds[i] = dial();
    for (int i = 0; i < MANY; i++) MUST(write(fds[i], (char[]){i % 251}, 1) == 1);
    for (int i = 0; i < MANY; i++) {
        MUST(drain(fds[i]) == 1);
        close(fds[i]);
    }
}
