// call: futex
// expect: in-kernel
// via: inline
#include "stuck.h"

static int word;

static void *own(void *argument) {
    be_another();
    RAW(SYS_futex, &word, 6 /* FUTEX_LOCK_PI */, 0, NULL, NULL, 0);
    *(volatile int *)argument = 1;
    sleep(100000);
    return NULL;
}

static void stick(void) {
    volatile int owned = 0;
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, own, (void *)&owned) == 0);
    while (!owned) usleep(1000);
    RAW(SYS_futex, &word, 6 /* FUTEX_LOCK_PI */, 0, NULL, NULL, 0);
}
