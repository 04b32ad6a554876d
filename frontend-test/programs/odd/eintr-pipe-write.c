// kind: write to a full pipe ends with EINTR or part of the bytes by alarm
#include "odd.h"

static void nothing(int number) {}

static void odd(void) {
    static char bytes[100000];
    int ends[2];
    MUST(pipe(ends) == 0);
    handle(SIGALRM, nothing, 0);
    alarm_in(50);
    SHOW(write(ends[1], bytes, sizeof bytes));
    alarm_in(50);
    SHOW(write(ends[1], bytes, 1));
}
