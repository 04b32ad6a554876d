// kind: nanosleep, clock_nanosleep and sleep end by alarm and return the time left
#include "odd.h"

static void nothing(int number) {}

static void odd(void) {
    struct timespec wanted = {5, 0}, left = {0, 0};
    handle(SIGALRM, nothing, SA_RESTART);
    alarm_in(50);
    SHOW(nanosleep(&wanted, &left));
    say("left %d\n", left.tv_sec == 4 && left.tv_nsec > 0);
    alarm_in(50);
    CODE(clock_nanosleep(CLOCK_MONOTONIC, 0, &wanted, &left));
    say("left %d\n", left.tv_sec == 4 && left.tv_nsec > 0);
    alarm_in(50);
    SHOW(sleep(5) >= 4);
}
