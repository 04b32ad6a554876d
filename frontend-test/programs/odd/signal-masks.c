// kind: masks of single threads, inherited; a signal goes to a thread that unblocks it
#include "odd.h"

static pthread_t open_thread;
static volatile int handled_in_open, ready, done;

static void mark(int number) {
    handled_in_open = pthread_equal(pthread_self(), open_thread);
    done = 1;
}

static void *let_in(void *argument) {
    sigset_t set;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    say("inherited %d\n", sigismember(&set, SIGUSR1));
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    ready = 1;
    while (!done) usleep(1000);
    return argument;
}

static void odd(void) {
    sigset_t set;
    handle(SIGUSR1, mark, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    start(&open_thread, let_in, NULL);
    while (!ready) usleep(1000);
    SHOW(kill(getpid(), SIGUSR1));
    pthread_join(open_thread, NULL);
    say("in the open thread %d\n", handled_in_open);
}
