// kind: pause ends by alarm
#include "odd.h"

static void nothing(int number) {}

static void odd(void) {
    handle(SIGALRM, nothing, SA_RESTART);
    alarm_in(50);
    SHOW(pause());
}
