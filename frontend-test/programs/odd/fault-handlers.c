// kind: handlers for faults: flags, stacks, masks, recursion, signals sent by programs
#include "odd.h"
#include <setjmp.h>

static sigjmp_buf back;
static volatile int codes[4], count;
static volatile sig_atomic_t blocked, stacked;
static char stack[64 << 10];
static volatile char *unreadable;

static void take(int number, siginfo_t *info, void *context) {
    (void)context;
    sigset_t mask;
    char here;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    blocked = sigismember(&mask, SIGUSR2);
    stacked = &here >= stack && &here < stack + sizeof stack;
    say("signal %d, code %d, at its place %d\n", number, info->si_code,
        info->si_code > 0 && info->si_addr == (void *)unreadable);
}

static void leave(int number, siginfo_t *info, void *context) {
    take(number, info, context);
    siglongjmp(back, number);
}

/* Makes the page readable, so that the same instruction goes on. */
static void mend(int number, siginfo_t *info, void *context) {
    take(number, info, context);
    mprotect((void *)unreadable, 4096, PROT_READ | PROT_WRITE);
}

static void again(int number, siginfo_t *info, void *context) {
    (void)info;
    (void)context;
    if (++count < 3) raise(number);
    count += 10;
}

static void set(void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(SIGSEGV, &action, NULL);
}

static void show_action(const char *when) {
    struct sigaction seen;
    sigaction(SIGSEGV, NULL, &seen);
    say("%s: default %d, ignored %d, flags %x, masks %d\n", when, seen.sa_handler == SIG_DFL,
        seen.sa_handler == SIG_IGN, seen.sa_flags & ~0x04000000,
        sigismember(&seen.sa_mask, SIGUSR2));
}

/* Says how a child ends that runs a function. */
static void in_child(const char *what, void (*run)(void)) {
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        run();
        _exit(7);
    }
    waitpid(child, &status, 0);
    say("%s: exits %d, by signal %d\n", what, WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static void fault(void) { *unreadable = 1; }

static void fault_by_default(void) {
    signal(SIGSEGV, SIG_DFL);
    fault();
}

static void fault_ignored(void) {
    signal(SIGSEGV, SIG_IGN);
    raise(SIGSEGV);
    fault();
}

static void raise_by_default(void) {
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
}

/* A second fault within the handler ends a process, as the signal is blocked there. */
static void fault_in_handler(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    (void)context;
    fault();
}

static void fault_twice(void) {
    set(fault_in_handler, 0);
    fault();
}

static void *overflow(void *argument) {
    volatile char large[4096];
    large[0] = 1;
    return large[0] ? overflow(argument) : (void *)(large + 1);
}

static void overflow_by_default(void) {
    signal(SIGSEGV, SIG_DFL);
    overflow(NULL);
}

static void odd(void) {
    unreadable = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(unreadable != MAP_FAILED);
    show_action("first");
    set(leave, 0);
    show_action("set");
    int number = sigsetjmp(back, 1);
    if (number == 0) fault();
    say("back by %d, blocked %d, on the other stack %d\n", number, (int)blocked, (int)stacked);
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    SHOW(sigaltstack(&other, NULL));
    set(mend, SA_ONSTACK);
    fault();
    say("mended %d, blocked %d, on the other stack %d\n", *unreadable, (int)blocked, (int)stacked);
    mprotect((void *)unreadable, 4096, PROT_NONE);
    set(take, SA_RESETHAND);
    SHOW(raise(SIGSEGV));
    show_action("once");
    set(again, SA_NODEFER);
    SHOW(raise(SIGSEGV));
    say("count %d\n", count);
    count = 0;
    set(take, 0);
    SHOW(kill(getpid(), SIGSEGV));
    SHOW(pthread_kill(pthread_self(), SIGSEGV));
    SHOW(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSEGV));
    SHOW(signal(SIGSEGV, SIG_IGN) == (void *)take);
    SHOW(raise(SIGSEGV));
    show_action("ignored");
    SHOW(signal(SIGSEGV, SIG_DFL) == SIG_IGN);
    in_child("default", fault_by_default);
    in_child("ignored", fault_ignored);
    in_child("raised", raise_by_default);
    in_child("twice", fault_twice);
    in_child("overflow", overflow_by_default);
    set(leave, SA_ONSTACK);
    number = sigsetjmp(back, 1);
    if (number == 0) overflow(NULL);
    say("back by %d, on the other stack %d\n", number, (int)stacked);
}
