// kind: negative and unknown clock ids, clocks of the process and of a thread
#include "odd.h"

static void odd(void) {
    clockid_t process, thread;
    struct timespec now = {0}, other = {0};
    SHOW(clock_getcpuclockid(0, &process));
    SHOW(clock_gettime(process, &now));
    SHOW(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now));
    CODE(pthread_getcpuclockid(pthread_self(), &thread));
    SHOW(clock_gettime(thread, &now));
    SHOW(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &other));
    say("negative %d %d\n", process < 0, thread < 0);
    SHOW(clock_getres(process, &now));
    SHOW(clock_getres(CLOCK_REALTIME, &now));
    SHOW(clock_gettime(99, &now));
    SHOW(clock_getres(99, &now));
    SHOW(clock_gettime(CLOCK_MONOTONIC_COARSE, &now));
    SHOW(clock_gettime(CLOCK_REALTIME_COARSE, &now));
    SHOW(clock_gettime(CLOCK_BOOTTIME, &now));
    SHOW(clock_gettime(CLOCK_MONOTONIC_RAW, &now));
    SHOW(clock_gettime(CLOCK_TAI, &now));
    say("%d\n", clock_getcpuclockid(999999, &process) != 0);
}
