// kind: calls by an instruction, and a clock's, on a stack of one KiB, as coroutines have them
// needs: --floor
#include "odd.h"
#include <linux/futex.h>

#define NARROW 1024
#define PAGE 4096

static char *top, *alternate;
static int ends[2];
static volatile int runs, inside;
static volatile uint32_t word;

/* Makes a call on the narrow stack, below which is a page of nobody's. */
static long call(long number, long a, long b, long c, long d) {
    register long fourth asm("r10") = d, fifth asm("r8") = 0, sixth asm("r9") = 0;
    register char *stack asm("r13") = top;
    long result;
    asm volatile("mov %%rsp, %%r12\n mov %%r13, %%rsp\n syscall\n mov %%r12, %%rsp"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth),
                   "r"(stack)
                 : "rcx", "r11", "r12", "memory");
    return result;
}

static uint64_t ticks(void) {
    register char *stack asm("r13") = top;
    uint32_t low, high;
    asm volatile("mov %%rsp, %%r12\n mov %%r13, %%rsp\n rdtsc\n mov %%r12, %%rsp"
                 : "=a"(low), "=d"(high) : "r"(stack) : "r12", "memory");
    return (uint64_t)high << 32 | low;
}

static void note(int number) {
    char here;
    inside += &here >= alternate && &here < alternate + 2 * PAGE;
    call(SYS_write, ends[1], (long)&here, 1, 0);
    call(SYS_getpid, 0, 0, 0, 0);
    call(SYS_read, ends[0], (long)&here, 1, 0);
    runs++;
}

static void *wake(void *argument) {
    usleep(100000);
    word = 1;
    call(SYS_futex, (long)&word, FUTEX_WAKE_PRIVATE, 1, 0);
    return argument;
}

static void odd(void) {
    struct timespec now, later, nap = {0, 300000000};
    pthread_t other;
    char *pages = mmap(NULL, 5 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(pages != MAP_FAILED && pipe(ends) == 0);
    MUST(mprotect(pages + PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
    MUST(mprotect(pages + 3 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE) == 0);
    top = pages + PAGE + NARROW;
    alternate = pages + 3 * PAGE;
    stack_t own = {.ss_sp = alternate, .ss_size = 2 * PAGE};
    SHOW(sigaltstack(&own, NULL));
    handle(SIGUSR1, note, SA_ONSTACK);
    handle(SIGALRM, note, SA_ONSTACK);
    say("itself %d\n", call(SYS_getpid, 0, 0, 0, 0) == getpid());
    say("clock %ld\n", call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0));
    say("write %ld\n", call(SYS_write, ends[1], (long)"abc", 3, 0));
    char bytes[4] = "";
    say("read %ld", call(SYS_read, ends[0], (long)bytes, 3, 0));
    say(" %s\n", bytes);
    say("bad %ld\n", call(SYS_read, -1, (long)bytes, 3, 0));
    for (int i = 0; i < 100; i++) MUST(call(SYS_sched_yield, 0, 0, 0, 0) == 0);
    uint64_t first = ticks();
    say("nap %ld\n", call(SYS_nanosleep, (long)&nap, 0, 0, 0));
    say("ticks %d\n", ticks() > first);
    MUST(call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&later, 0, 0) == 0);
    say("later %d\n", later.tv_sec > now.tv_sec || later.tv_nsec > now.tv_nsec);
    MUST(pthread_create(&other, NULL, wake, NULL) == 0);
    while (!word) call(SYS_futex, (long)&word, FUTEX_WAIT_PRIVATE, 0, 0);
    MUST(pthread_join(other, NULL) == 0);
    say("woken %u\n", word);
    long self = syscall(SYS_gettid);
    for (int i = 0; i < 20; i++) MUST(call(SYS_tgkill, getpid(), self, SIGUSR1, 0) == 0);
    say("%d runs, %d inside\n", runs, inside);
    alarm_in(100);
    say("nap %ld\n", call(SYS_nanosleep, (long)&nap, 0, 0, 0));
    say("%d runs, %d inside\n", runs, inside);
}
