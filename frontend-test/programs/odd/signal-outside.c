// kind: a child's signal to its parent wakes pause
#include "odd.h"

static volatile sig_atomic_t seen;

static void count(int number) { seen++; }

static void odd(void) {
    sigset_t set, old;
    handle(SIGUSR1, count, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &old);
    pid_t parent = getpid();
    if (fork() == 0) {
        usleep(50000);
        _exit(kill(parent, SIGUSR1) != 0);
    }
    while (!seen) sigsuspend(&old);
    int status;
    wait(&status);
    say("seen %d, status %d\n", (int)seen, WEXITSTATUS(status));
}
