// kind: accept ends with EINTR by alarm
#include "odd.h"

static void nothing(int number) {}

static void odd(void) {
    handle(SIGALRM, nothing, 0);
    alarm_in(50);
    SHOW(accept(listener, NULL, NULL));
}
