// kind: clocks by system calls of the program's own, hundreds of times each: registers and errors
#define OWN_LISTENER
#include "odd.h"

#define OFTEN 400

static int bad;
static uint64_t last;
/* Only instructions below name these. */
#define NAMED __attribute__((used)) static
NAMED uint64_t given[8] = {11, 12, 13, 14, 15, 16, 17, 18}, kept[8];
NAMED uint64_t vectors[16][4], after[16][4];
NAMED struct timespec now;

static void grows(uint64_t time) {
    if (time <= last) bad |= 1;
    last = time;
}

/* The number is loaded just before the call, as compilers do, and Go's in a longer way. */
#define CALL(number, first, second) LOADED("mov $" #number ", %%eax", first, second)
#define WIDE(number, first, second) LOADED("movq $" #number ", %%rax", first, second)
#define LOADED(load, first, second) ({ \
    long result; \
    __asm__ volatile(load "\n\tsyscall" \
        : "=a"(result) : "D"(first), "S"(second) : "rcx", "r11", "memory"); \
    result; })

/* No register but rax, rcx and r11 may change, and no vector. */
static void registers(int wide) {
    for (int at = 0; at < 64; at++) vectors[at / 4][at % 4] = 1000 + at + last;
    memset(after, 0, sizeof after);
#define EACH(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) \
    f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define LOAD(n) "vmovups " #n "*32(%%rax), %%ymm" #n "\n\t"
#define STORE(n) "vmovups %%ymm" #n ", " #n "*32(%%rax)\n\t"
#define CLOBBER(n) "xmm" #n,
#define REGISTERS \
    "lea given(%%rip), %%rax\n\t" \
    "mov 0(%%rax), %%rdx\n\tmov 8(%%rax), %%r8\n\tmov 16(%%rax), %%r9\n\t" \
    "mov 24(%%rax), %%r10\n\tmov 32(%%rax), %%r12\n\tmov 40(%%rax), %%r13\n\t" \
    "mov 48(%%rax), %%r14\n\tmov 56(%%rax), %%r15\n\t" \
    "mov $1, %%edi\n\tlea now(%%rip), %%rsi\n\t" \
    "mov $228, %%eax\n\tsyscall\n\t" \
    "lea kept(%%rip), %%rax\n\t" \
    "mov %%rdx, 0(%%rax)\n\tmov %%r8, 8(%%rax)\n\tmov %%r9, 16(%%rax)\n\t" \
    "mov %%r10, 24(%%rax)\n\tmov %%r12, 32(%%rax)\n\tmov %%r13, 40(%%rax)\n\t" \
    "mov %%r14, 48(%%rax)\n\tmov %%r15, 56(%%rax)\n\t"
#define CHANGED "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", \
    "r15", "cc", "memory"
    if (wide) {
        __asm__ volatile(
            "lea vectors(%%rip), %%rax\n\t" EACH(LOAD) REGISTERS
            "lea after(%%rip), %%rax\n\t" EACH(STORE) "vzeroupper"
            : : : EACH(CLOBBER) CHANGED);
        if (memcmp(vectors, after, sizeof vectors)) bad |= 4;
    } else {
        __asm__ volatile(REGISTERS : : : CHANGED);
    }
    if (memcmp(given, kept, sizeof given)) bad |= 2;
    grows(now.tv_sec * 1000000000ull + now.tv_nsec);
}

/* A function without a frame may use 128 bytes below the stack's top. */
static void below(void) {
    uint64_t first, last_word;
    __asm__ volatile(
        "movq $71, -8(%%rsp)\n\tmovq $72, -128(%%rsp)\n\t"
        "mov $1, %%edi\n\tlea now(%%rip), %%rsi\n\tmov $228, %%eax\n\tsyscall\n\t"
        "mov -8(%%rsp), %0\n\tmov -128(%%rsp), %1"
        : "=&r"(first), "=&r"(last_word) : : "rax", "rcx", "rsi", "rdi", "r11", "cc", "memory");
    if (first != 71 || last_word != 72) bad |= 8;
}

static void *threads(void *unused) {
    for (int time = 0; time < OFTEN; time++) {
        struct timespec one, two;
        if (CALL(228, CLOCK_MONOTONIC, &one) || WIDE(228, CLOCK_MONOTONIC, &two)) bad |= 16;
        if (one.tv_sec > two.tv_sec || (one.tv_sec == two.tv_sec && one.tv_nsec >= two.tv_nsec))
            bad |= 32;
    }
    return unused;
}

static void odd(void) {
    int wide = __builtin_cpu_supports("avx");
    void *sealed = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    listener = listen_at(AF_INET, port);
    long missing = 0, denied = 0, unknown = 0, nothing = 0;
    uint64_t seconds = 0;
    for (int time = 0; time < OFTEN; time++) {
        struct timeval day = {0};
        struct timespec real;
        registers(wide);
        below();
        missing = CALL(228, CLOCK_REALTIME, 8);
        denied = CALL(228, CLOCK_REALTIME, sealed);
        unknown = CALL(228, 99, &real);
        nothing = CALL(96, 0, 0);
        if (CALL(96, &day, 0) || CALL(228, CLOCK_REALTIME, &real)) bad |= 64;
        if (day.tv_usec < 0 || day.tv_usec >= 1000000 || real.tv_sec - day.tv_sec > 1) bad |= 128;
        seconds |= day.tv_sec - real.tv_sec > 0;
    }
    say("%ld %ld %ld %ld %ld\n", missing, denied, unknown, nothing, (long)seconds);
    pthread_t all[3];
    for (int at = 0; at < 3; at++) start(&all[at], threads, NULL);
    for (int at = 0; at < 3; at++) pthread_join(all[at], NULL);
    say("%d\n", bad);
}
