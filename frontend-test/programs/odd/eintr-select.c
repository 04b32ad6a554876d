// kind: select without a limit ends with EINTR by alarm
#include "odd.h"

static void nothing(int number) {}

static void odd(void) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(listener, &set);
    handle(SIGALRM, nothing, SA_RESTART);
    alarm_in(50);
    SHOW(select(listener + 1, &set, NULL, NULL, NULL));
}
