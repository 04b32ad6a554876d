/*
 * A server as racy.c is, without libc where the kernel is concerned: its threads read, write, wait
 * for the lock, yield, and ask for the time and for random bytes by instructions of their own. The
 * lock is kept while its owner yields, so the others wait for it in the kernel, unless their calls
 * are answered elsewhere. Its owner yields again without it, or it would never lose it. All of them
 * also write to one stream, whose lock is libc's own.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

#include "serve.h"

enum { ROUNDS = 300 };

static uint32_t word;
static unsigned long counter;
static FILE *stream;

static long call(long number, long a, long b, long c, long d) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = 0;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
}

/* The lock of "Futexes Are Tricky" (Drepper, 2011): 0 is free, 1 is taken, 2 is waited for. */
static void lock(void) {
    uint32_t seen = 0;
    if (__atomic_compare_exchange_n(&word, &seen, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
    while (__atomic_exchange_n(&word, 2, __ATOMIC_ACQUIRE) != 0)
        call(SYS_futex, (long)&word, FUTEX_WAIT_PRIVATE, 2, 0);
}

static void unlock(void) {
    if (__atomic_exchange_n(&word, 0, __ATOMIC_RELEASE) == 2)
        call(SYS_futex, (long)&word, FUTEX_WAKE_PRIVATE, 1, 0);
}

static unsigned long add(void) {
    lock();
    unsigned long now = ++counter;
    call(SYS_sched_yield, 0, 0, 0, 0);
    unlock();
    call(SYS_sched_yield, 0, 0, 0, 0);
    return now;
}

static void *serve(void *argument) {
    long fd = (long)argument;
    char line[256];
    size_t length = 0;
    while (length < sizeof line && call(SYS_read, fd, (long)&line[length], 1, 0) == 1) {
        if (line[length++] != '\n') continue;
        unsigned long first = add(), last = first;
        for (int round = 1; round < ROUNDS; round++) {
            last = add();
            fprintf(stream, "%lu\n", last);
            fflush(stream);
        }
        struct timespec now;
        uint32_t random;
        call(SYS_clock_gettime, CLOCK_REALTIME, (long)&now, 0, 0);
        call(SYS_getrandom, (long)&random, sizeof random, 0, 0);
        char answer[400];
        int size = snprintf(answer, sizeof answer, "%.*s moved %lu to %lu at %ld.%09ld, %08x\n",
                            (int)length - 1, line, last - first, last, now.tv_sec, now.tv_nsec,
                            random);
        if (call(SYS_write, fd, (long)answer, size, 0) != size) break;
        length = 0;
    }
    call(SYS_close, fd, 0, 0, 0);
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    stream = fopen("values", "w");
    if (stream == NULL) return 3;
    return serve_each(listen_at(arguments[1]), serve);
}
