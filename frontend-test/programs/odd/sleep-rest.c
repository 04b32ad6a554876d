// kind: the rest of a nanosleep, clock_nanosleep and sleep that a signal ends, by both clocks
#include "odd.h"

static void on_alarm(int number) { (void)number; }

static void odd(void) {
    struct timespec wanted = {5, 0}, rest = {-1, -1};
    handle(SIGALRM, on_alarm, 0);
    alarm_in(20);
    SHOW(nanosleep(&wanted, &rest));
    say("%d %d\n", rest.tv_sec == 4, rest.tv_nsec > 0 && rest.tv_nsec < 1000000000);
    alarm_in(20);
    CODE(clock_nanosleep(CLOCK_MONOTONIC, 0, &wanted, &wanted));
    say("%d\n", wanted.tv_sec == 4);
    alarm_in(20);
    SHOW(sleep(7));
    alarm_in(20);
    SHOW(usleep(900000));
    rest = (struct timespec){-1, -1};
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += 5;
    alarm_in(20);
    CODE(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, &rest));
    say("%d %d\n", (int)rest.tv_sec, (int)rest.tv_nsec);
    at.tv_sec -= 10;
    CODE(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL));
    at = (struct timespec){0, 0};
    CODE(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &at, NULL));
    CODE(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &at, NULL));
    CODE(clock_nanosleep(77, 0, &at, NULL));
    at.tv_nsec = 1000000000;
    CODE(clock_nanosleep(CLOCK_REALTIME, 0, &at, NULL));
    SHOW(nanosleep(&at, NULL));
    at = (struct timespec){-1, 0};
    SHOW(nanosleep(&at, NULL));
}
