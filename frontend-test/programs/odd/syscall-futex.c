// kind: libc's syscall() for futex: wait, wake, a changed word, a time limit
#include "odd.h"

static int word;

static void *wake(void *argument) {
    usleep(50000);
    __atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
    SHOW(syscall(SYS_futex, &word, 129, 1, NULL, NULL, 0) >= 0);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    struct timespec limit = {0, 30000000};
    SHOW(syscall(SYS_futex, &word, 128, 5, NULL, NULL, 0));
    SHOW(syscall(SYS_futex, &word, 128, 0, &limit, NULL, 0));
    SHOW(syscall(SYS_futex, &word, 129, 1, NULL, NULL, 0));
    start(&thread, wake, NULL);
    while (!__atomic_load_n(&word, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, &word, 128, 0, NULL, NULL, 0);
    pthread_join(thread, NULL);
    say("%d\n", word);
}
