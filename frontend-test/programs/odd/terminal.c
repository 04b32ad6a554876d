// kind: a pseudo-terminal: one thread writes, another reads a line
#include "odd.h"

static int outer;

static void *type(void *argument) {
    usleep(50000);
    MUST(write(outer, "typed\n", 6) == 6);
    return argument;
}

static void odd(void) {
    char bytes[32] = "";
    pthread_t thread;
    outer = posix_openpt(O_RDWR | O_NOCTTY);
    MUST(outer >= 0 && grantpt(outer) == 0 && unlockpt(outer) == 0);
    int inner = open(ptsname(outer), O_RDWR | O_NOCTTY);
    SHOW(isatty(inner));
    start(&thread, type, NULL);
    SHOW(read(inner, bytes, sizeof bytes));
    say("%s", bytes);
    pthread_join(thread, NULL);
}
