// kind: sigsuspend ends by alarm
#include "odd.h"

static void nothing(int number) {}

static void odd(void) {
    sigset_t none;
    sigemptyset(&none);
    handle(SIGALRM, nothing, SA_RESTART);
    alarm_in(50);
    SHOW(sigsuspend(&none));
}
