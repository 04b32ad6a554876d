// kind: libc's syscall() for FUTEX_WAIT_BITSET with an absolute limit, and requeue
#include "odd.h"

static int word, other, entered, left;

static void *wait_here(void *argument) {
    __atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&word, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, &word, 128, 0, NULL, NULL, 0);
    __atomic_add_fetch(&left, 1, __ATOMIC_SEQ_CST);
    return argument;
}

static void odd(void) {
    pthread_t threads[3];
    struct timespec limit;
    clock_gettime(CLOCK_MONOTONIC, &limit);
    limit.tv_nsec += 30000000;
    if (limit.tv_nsec >= 1000000000) limit.tv_sec++, limit.tv_nsec -= 1000000000;
    SHOW(syscall(SYS_futex, &word, 128 | 9, 0, &limit, NULL, 0xffffffff));
    for (int i = 0; i < 3; i++) start(&threads[i], wait_here, NULL);
    while (__atomic_load_n(&entered, __ATOMIC_SEQ_CST) < 3) usleep(1000);
    usleep(100000);
    __atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
    SHOW(syscall(SYS_futex, &word, 128 | 4, 1, 10, &other, 1));
    SHOW(syscall(SYS_futex, &other, 129, 10, NULL, NULL, 0));
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    say("%d\n", left);
}
