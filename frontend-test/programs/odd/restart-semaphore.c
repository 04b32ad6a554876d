// kind: SA_RESTART continues sem_wait and pipe reads that another thread ends
#include "odd.h"

static volatile sig_atomic_t seen;
static sem_t ready;
static int ends[2];

static void count(int number) { seen++; }

static void *post(void *argument) {
    usleep(200000);
    sem_post(&ready);
    usleep(200000);
    MUST(write(ends[1], "x", 1) == 1);
    return argument;
}

static void odd(void) {
    char byte;
    pthread_t thread;
    sigset_t set;
    MUST(pipe(ends) == 0 && sem_init(&ready, 0, 0) == 0);
    handle(SIGALRM, count, SA_RESTART);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    start(&thread, post, NULL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    alarm_in(50);
    SHOW(sem_wait(&ready));
    alarm_in(50);
    SHOW(read(ends[0], &byte, 1));
    say("handled %d\n", (int)seen);
    pthread_join(thread, NULL);
}
