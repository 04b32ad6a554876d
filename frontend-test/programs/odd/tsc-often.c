// kind: rdtsc in many forms, hundreds of times each: registers, flags and branches around it
#define OWN_LISTENER
#include "odd.h"

#define OFTEN 300

static uint64_t last;
static int bad;
static volatile int32_t elsewhere = 5;

static void grows(uint64_t time) {
    if (time <= last) bad |= 1;
    last = time;
}

static uint64_t builtin(void) { return __builtin_ia32_rdtsc(); }

/* No register but eax and edx, no flag and no vector may change. */
static void plain(void) {
    uint64_t in[7] = {11, 12, 13, 14, 15, 16, 17}, out[7], time, high;
    uint64_t vector[4] = {21, 22, 23, 24}, after[4] = {0};
    unsigned char carry, zero;
    int wide = __builtin_cpu_supports("avx");
    if (wide) __asm__ volatile("vmovups %0, %%ymm9" : : "m"(vector) : "xmm9");
    __asm__ volatile("movups %0, %%xmm3" : : "m"(vector) : "xmm3");
    __asm__ volatile(
        "mov 0(%[in]), %%rcx\n\tmov 8(%[in]), %%rsi\n\tmov 16(%[in]), %%r8\n\t"
        "mov 24(%[in]), %%r9\n\tmov 32(%[in]), %%r10\n\tmov 40(%[in]), %%r11\n\t"
        "xor %%eax, %%eax\n\tstc\n\t"
        "rdtsc\n\t"
        "mov %%rax, %%r15\n\t"
        "setc %[carry]\n\tsetz %[zero]\n\t"
        "mov %%rcx, 0(%[out])\n\tmov %%rsi, 8(%[out])\n\tmov %%r8, 16(%[out])\n\t"
        "mov %%r9, 24(%[out])\n\tmov %%r10, 32(%[out])\n\tmov %%r11, 40(%[out])\n\t"
        "mov %%r15, %%rax"
        : "=a"(time), "=d"(high), [carry] "=m"(carry), [zero] "=m"(zero)
        : [in] "D"(in), [out] "b"(out)
        : "rcx", "rsi", "r8", "r9", "r10", "r11", "r15", "cc", "memory");
    if (memcmp(in, out, 48)) bad |= 2;
    if (!carry || !zero) bad |= 4;
    if (wide) __asm__ volatile("vmovups %%ymm9, %0" : "=m"(after) : : );
    if (wide && memcmp(vector, after, 32)) bad |= 8;
    __asm__ volatile("movups %%xmm3, %0" : "=m"(after) : : );
    if (memcmp(vector, after, 16)) bad |= 16;
    grows(high << 32 | time);
}

/* The instruction behind it names a place by its distance, and has another operand behind that. */
static void relative(void) {
    uint32_t low, high;
    unsigned char same;
    __asm__ volatile("rdtsc\n\tcmpl $5, elsewhere(%%rip)\n\tsete %2"
        : "=a"(low), "=d"(high), "=m"(same) : : "cc");
    if (!same) bad |= 32;
    grows((uint64_t)high << 32 | low);
}

/* A branch leads behind it, every second time. */
static void entered(int round) {
    uint64_t sum = 1000;
    __asm__ volatile(
        "test $1, %1\n\t"
        "jz 1f\n\t"
        "rdtsc\n\t"
        "1: add $7, %0\n\t"
        "add $1, %0"
        : "+r"(sum) : "r"(round) : "rax", "rdx", "cc");
    if (sum != 1008) bad |= 64;
}

/* A function without a frame keeps things below the top of its stack. */
static uint64_t leaf(void) {
    uint64_t below, low, high;
    __asm__ volatile(
        "movq $77, -120(%%rsp)\n\t"
        "rdtsc\n\t"
        "shl $32, %%rdx\n\t"
        "mov -120(%%rsp), %2"
        : "=a"(low), "=d"(high), "=r"(below) : : "cc", "memory");
    if (below != 77) bad |= 128;
    return high | low;
}

static void *read_often(void *argument) {
    for (int i = 0; i < OFTEN; i++) grows(builtin());
    return argument;
}

static void odd(void) {
    pthread_t threads[3];
    /* Before the program listens each read is watched, and behind one that was seen. */
    grows(builtin());
    listener = listen_at(AF_INET, port);
    for (int i = 0; i < OFTEN; i++) {
        grows(builtin());
        plain();
        relative();
        entered(i);
        grows(leaf());
    }
    say("%d\n", bad);
    /* Other threads read at the same places, one at a time. */
    for (int i = 0; i < 3; i++) {
        start(&threads[i], read_often, NULL);
        pthread_join(threads[i], NULL);
    }
    say("%d\n", bad);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < OFTEN; i++) builtin(), plain();
        _exit(bad & ~1);
    }
    int status;
    MUST(waitpid(child, &status, 0) == child);
    say("%d\n", WEXITSTATUS(status));
}
