// kind: libc's syscall() for signal masks, and calls that bypass libc while all signals are blocked
#include "odd.h"

static volatile int signals;

static void on_signal(int number) { (void)number, signals++; }

static long raw(long number) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number) : "rcx", "r11", "memory");
    return result;
}

static void odd(void) {
    unsigned long all = ~0UL, none = 0, old = 1, bad_size = 4;
    handle(SIGUSR1, on_signal, 0);
    SHOW(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8));
    SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, &old, 8));
    SHOW(old == 0);
    for (int times = 0; times < 3; times++)
        SHOW(raw(SYS_getpid) == getpid());
    SHOW(raise(SIGUSR1));
    SHOW(signals);
    SHOW(syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &all, &old, 8));
    SHOW((old >> (SIGUSR1 - 1)) & 1);
    SHOW((old >> (SIGKILL - 1)) & 1);
    SHOW(signals);
    SHOW(syscall(SYS_rt_sigprocmask, 99, &all, NULL, 8));
    SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, (void *)1, NULL, 8));
    SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &old, bad_size));
    SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &old, 8));
    SHOW(old);
    SHOW(raw(SYS_getpid) == getpid());
}
