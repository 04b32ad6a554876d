// call: -
// expect: computes
// via: inline
// The thread that sets the flag never gets the turn while one thread runs at a time.
#include "stuck.h"

static volatile int flag;

static void *raise_flag(void *argument) {
    be_another();
    sleep(1);
    flag = 1;
    return argument;
}

static void stick(void) {
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, raise_flag, NULL) == 0);
    while (!flag) __builtin_ia32_pause();
    for (;;) __builtin_ia32_pause();
}
