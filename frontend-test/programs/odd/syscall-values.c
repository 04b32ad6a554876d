// kind: libc's syscall() for getrandom, clock_gettime, gettid and getpid
#include "odd.h"
#include <sys/random.h>

static void odd(void) {
    char bytes[32];
    struct timespec a, b;
    SHOW(syscall(SYS_getrandom, bytes, sizeof bytes, 0));
    SHOW(getrandom(bytes, sizeof bytes, 0));
    SHOW(syscall(SYS_getrandom, bytes, sizeof bytes, 0x80));
    clock_gettime(CLOCK_REALTIME, &a);
    SHOW(syscall(SYS_clock_gettime, CLOCK_REALTIME, &b));
    say("later by less than a second %d\n",
        b.tv_sec - a.tv_sec <= 1 && (b.tv_sec > a.tv_sec || b.tv_nsec >= a.tv_nsec));
    say("tid %d\n", syscall(SYS_gettid) == gettid());
    say("pid %d\n", syscall(SYS_getpid) == getpid());
    say("main %d\n", gettid() == getpid());
    SHOW(syscall(SYS_clock_gettime, 1000, &b));
    SHOW(syscall(9999));
}
