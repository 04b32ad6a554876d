// kind: no clock runs backwards, sleeps take at least their time
#include "odd.h"

static long long nanoseconds(clockid_t id) {
    struct timespec now;
    MUST(clock_gettime(id, &now) == 0);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static void odd(void) {
    clockid_t ids[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW};
    for (int i = 0; i < 4; i++) {
        long long last = nanoseconds(ids[i]), start = last, back = 0;
        for (int k = 0; k < 100; k++) {
            long long now = nanoseconds(ids[i]);
            back += now < last;
            last = now;
        }
        usleep(30000);
        say("clock %d: back %lld, slept %d\n", ids[i], back,
            nanoseconds(ids[i]) - start >= 30000000);
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += 30000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    CODE(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL));
    say("%d\n", nanoseconds(CLOCK_MONOTONIC) >= until.tv_sec * 1000000000ll + until.tv_nsec);
    CODE(clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){0, -1}, NULL));
    SHOW(nanosleep(&(struct timespec){0, 1000000000}, NULL));
}
