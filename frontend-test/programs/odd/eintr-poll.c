// kind: poll without a limit ends with EINTR by alarm
#include "odd.h"

static void nothing(int number) {}

static void odd(void) {
    struct pollfd wanted = {listener, POLLIN, 0};
    handle(SIGALRM, nothing, SA_RESTART);
    alarm_in(50);
    SHOW(poll(&wanted, 1, -1));
}
