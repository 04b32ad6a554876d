// kind: getrusage, times, clock and clock_gettime of processor time never go back
#include "odd.h"
#include <sys/resource.h>
#include <sys/times.h>

static long long micro(struct timeval at) { return at.tv_sec * 1000000ll + at.tv_usec; }

static void odd(void) {
    int back = 0;
    struct rusage before, after, thread;
    struct tms used, used_later;
    clock_t since = times(&used), own = clock();
    SHOW(getrusage(RUSAGE_SELF, &before));
    for (int i = 0; i < 200; i++) {
        MUST(getrusage(RUSAGE_SELF, &after) == 0 && getrusage(RUSAGE_THREAD, &thread) == 0);
        back += micro(after.ru_utime) < micro(before.ru_utime);
        back += micro(after.ru_stime) < micro(before.ru_stime);
        before = after;
        clock_t now = times(&used_later);
        back += now < since || used_later.tms_utime < used.tms_utime;
        since = now, used = used_later;
        clock_t later = clock();
        back += later < own;
        own = later;
    }
    say("%d steps back\n", back);
    SHOW(after.ru_maxrss > 0);
    SHOW(getrusage(RUSAGE_CHILDREN, &after));
    SHOW(getrusage(77, &after));
}
