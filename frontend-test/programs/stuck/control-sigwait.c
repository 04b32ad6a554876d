// call: -
// expect: none
// via: libc
#include "stuck.h"

static void *await_signal(void *set) {
    int number;
    MUST(sigwait(set, &number) == 0 && number == SIGUSR1);
    return NULL;
}

static void stick(void) {
    pthread_t thread;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    MUST(pthread_create(&thread, NULL, await_signal, &set) == 0);
    usleep(300000);
    pthread_kill(thread, SIGUSR1);
    MUST(pthread_join(thread, NULL) == 0);
}
