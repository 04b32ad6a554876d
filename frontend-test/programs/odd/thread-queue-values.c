// kind: pthread_sigqueue with values, to a thread that waits and to one that blocks the signal
#include "odd.h"

static sem_t ready, taken_up;
static volatile int seen[8], count;

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    if (count < 8) seen[count++] = info->si_code == SI_QUEUE ? info->si_value.sival_int : -1;
}

static void *wait_for(void *argument) {
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    sem_post(&ready);
    sem_wait(&taken_up);
    for (int i = 0; i < 3; i++) {
        int number = sigwaitinfo(&set, &info);
        say("%d %d %d\n", number - SIGRTMIN, info.si_code == SI_QUEUE, info.si_value.sival_int);
    }
    return argument;
}

static void odd(void) {
    pthread_t thread;
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGRTMIN, &action, NULL) == 0);
    sem_init(&ready, 0, 0);
    sem_init(&taken_up, 0, 0);
    start(&thread, wait_for, NULL);
    sem_wait(&ready);
    for (int i = 0; i < 3; i++)
        CODE(pthread_sigqueue(thread, SIGRTMIN + 1, (union sigval){.sival_int = 10 + i}));
    sem_post(&taken_up);
    pthread_join(thread, NULL);
    for (int i = 0; i < 3; i++)
        CODE(pthread_sigqueue(pthread_self(), SIGRTMIN, (union sigval){.sival_int = 20 + i}));
    SHOW(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 30}));
    say("%d: %d %d %d %d\n", count, seen[0], seen[1], seen[2], seen[3]);
    CODE(pthread_sigqueue(pthread_self(), 0, (union sigval){.sival_int = 1}));
    CODE(pthread_sigqueue(pthread_self(), 1000, (union sigval){.sival_int = 1}));
}
