// kind: handlers that interrupt calls by an instruction, wait in such calls, and jump out of them
// needs: --floor
#include "odd.h"
#include <setjmp.h>

#define DEEP 12
#define JUMPS 400

static sigjmp_buf back;
static volatile int depth, deepest, interrupted, jumps;
static char alternate[1 << 20];

/* A call without a function of libc's. */
static long call(long number, long a, long b, long c) {
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c)
                 : "rcx", "r11", "memory");
    return result;
}

static long nap(long milliseconds) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    return call(SYS_nanosleep, (long)&time, 0, 0);
}

/* The handler is interrupted in its own wait, until it is deep enough. */
static void nest(int number) {
    if (++depth > deepest) deepest = depth;
    if (depth < DEEP) {
        alarm_in(20);
        interrupted += nap(5000) == -EINTR;
    }
    depth--;
    (void)number;
}

static void jump(int number) {
    jumps++;
    call(SYS_getpid, 0, 0, 0);
    siglongjmp(back, number);
}

/* Waits in a handler, and is left from there by another one. */
static void wait_and_be_left(int number) {
    alarm_in(1);
    nap(5000);
    say("never %d\n", number);
}

static void odd(void) {
    for (int flags = 0; flags < 2; flags++) {
        int other = flags ? SA_ONSTACK : 0;
        stack_t own = {.ss_sp = alternate, .ss_size = sizeof alternate};
        if (flags) MUST(sigaltstack(&own, NULL) == 0);
        handle(SIGALRM, nest, SA_NODEFER | other);
        deepest = interrupted = 0;
        alarm_in(20);
        say("nap %ld", nap(5000));
        say(", %d deep, %d interrupted, %d left\n", deepest, interrupted, depth);
        handle(SIGALRM, jump, SA_NODEFER | other);
        handle(SIGUSR1, wait_and_be_left, other);
        jumps = 0;
        for (int i = 0; i < JUMPS; i++) {
            if (sigsetjmp(back, 1) != 0) continue;
            if (i % 2) {
                alarm_in(1);
                nap(5000);
            } else {
                raise(SIGUSR1);
            }
            say("not left\n");
        }
        say("%d jumps\n", jumps);
        if (flags) {
            own.ss_flags = SS_DISABLE;
            SHOW(sigaltstack(&own, NULL));
            SHOW(sigaltstack(NULL, &own));
            say("%d\n", own.ss_flags);
        }
    }
    /* Signals of the program's own, at once behind the call that sends them. */
    handle(SIGUSR2, nest, 0);
    depth = DEEP;
    deepest = 0;
    for (int i = 1; i <= 20; i++) {
        call(SYS_tgkill, getpid(), call(SYS_gettid, 0, 0, 0), SIGUSR2);
        MUST(deepest == DEEP + 1);
        deepest = 0;
    }
    sigset_t blocked;
    MUST(sigprocmask(SIG_BLOCK, NULL, &blocked) == 0);
    SHOW(sigismember(&blocked, SIGALRM));
    SHOW(sigismember(&blocked, SIGUSR1));
}
