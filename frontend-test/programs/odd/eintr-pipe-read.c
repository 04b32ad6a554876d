// kind: read of a pipe ends with EINTR by alarm
#include "odd.h"

static void nothing(int number) {}

static void odd(void) {
    int ends[2];
    char byte;
    MUST(pipe(ends) == 0);
    handle(SIGALRM, nothing, 0);
    alarm_in(50);
    SHOW(read(ends[0], &byte, 1));
}
