// kind: libc's syscall() for sched_yield, nanosleep, tgkill, getcpu, sched_getaffinity
#include "odd.h"

static volatile sig_atomic_t seen;

static void count(int number) { seen++; }

static void odd(void) {
    struct timespec little = {0, 10000000};
    handle(SIGUSR1, count, 0);
    SHOW(syscall(SYS_sched_yield));
    SHOW(syscall(SYS_nanosleep, &little, NULL));
    SHOW(syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1));
    say("%d\n", (int)seen);
    SHOW(syscall(SYS_getcpu, NULL, NULL, NULL));
    SHOW(syscall(SYS_sched_getaffinity, 0, 128, (char[128]){0}) > 0);
}
