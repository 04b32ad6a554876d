// kind: threads by clone(2) itself, with and without data of their own, and what they wait at
// needs: --floor
#include "odd.h"
#include <linux/futex.h>
#include <sched.h>

#define THREADS 4
#define ROUNDS 200
#define STACK 65536

static char stacks[THREADS][STACK] __attribute__((aligned(16)));
static int ends[THREADS], numbers[THREADS], lock, sum;

struct data { struct data *self; char rest[4096]; };
static struct data own[THREADS];

static long call(long number, long a, long b, long c, long d) {
    struct attempt it = {"", number, {a, b, c, d, 0, 0}};
    return by_instruction(&it);
}

static void take(void) {
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_SEQ_CST))
        call(SYS_futex, AT(&lock), FUTEX_WAIT | 128, 1, 0);
}

static void give(void) {
    __atomic_store_n(&lock, 0, __ATOMIC_SEQ_CST);
    call(SYS_futex, AT(&lock), FUTEX_WAKE | 128, 1, 0);
}

/* It uses nothing of libc's. */
static __attribute__((noinline, optimize("no-stack-protector"))) void work(long place) {
    struct data *mine;
    for (int i = 0; i < ROUNDS; i++) {
        take();
        sum += (int)place + 1;
        give();
        if (i % 16 == 0) call(SYS_sched_yield, 0, 0, 0, 0);
    }
    if (place % 2) {
        __asm__("mov %%fs:0, %0" : "=r"(mine));
        if (mine != &own[place]) __atomic_add_fetch(&sum, 1000000, __ATOMIC_SEQ_CST);
    }
    call(SYS_exit, 0, 0, 0, 0);
}

/* Makes a thread that begins with `work(place)` on a stack of its own. */
static long make(long place) {
    long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM
        | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | (place % 2 ? CLONE_SETTLS : 0);
    char *top = stacks[place] + STACK;
    register int *end __asm__("r10") = &ends[place];
    register struct data *base __asm__("r8") = &own[place];
    long result;
    own[place].self = &own[place];
    __asm__ volatile(
        "mov %[place], %%r12\n\t"
        "syscall\n\t"
        "test %%rax, %%rax\n\t"
        "jnz 1f\n\t"
        "xor %%ebp, %%ebp\n\t"
        "mov %%r12, %%rdi\n\t"
        "call *%[work]\n\t"
        "1:"
        : "=a"(result)
        : "a"(SYS_clone), "D"(flags), "S"(top), "d"(&numbers[place]), "r"(end), "r"(base),
          [place] "r"(place), [work] "b"(work)
        : "rcx", "r11", "r12", "memory");
    return result;
}

static int by_libc(void *argument) {
    take();
    sum += 7;
    give();
    return (int)(uintptr_t)argument;
}

static void odd(void) {
    static char stack[STACK] __attribute__((aligned(16)));
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM
        | CLONE_CHILD_CLEARTID;
    int end = 1, status = 0;
    for (long i = 0; i < THREADS; i++) {
        ends[i] = 1;
        long number = make(i);
        say("%d\n", number > 0 && number == numbers[i]);
    }
    for (int i = 0; i < THREADS; i++)
        while (__atomic_load_n(&ends[i], __ATOMIC_SEQ_CST)) usleep(1000);
    say("%d\n", sum);
    OK(clone(by_libc, stack + STACK, flags, NULL, NULL, NULL, &end));
    while (__atomic_load_n(&end, __ATOMIC_SEQ_CST)) usleep(1000);
    say("%d\n", sum);
    long child = call(SYS_clone, SIGCHLD, 0, 0, 0);
    if (child == 0) _exit(5);
    SHOW(waitpid((pid_t)child, &status, 0) == child);
    say("%d\n", WEXITSTATUS(status));
    child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(6);
    SHOW(waitpid((pid_t)child, &status, 0) == child);
    say("%d\n", WEXITSTATUS(status));
}
