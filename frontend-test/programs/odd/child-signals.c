// kind: signals between processes: groups, blocked ones, values, sigwaitinfo, waiting calls
// needs: --floor
#include "odd.h"

static volatile sig_atomic_t caught, value;
static void on_signal(int signal) { caught = signal; }
static void on_value(int signal, siginfo_t *info, void *context) {
    (void)context;
    caught = signal, value = info->si_value.sival_int;
}

static void odd(void) {
    int to[2], from[2], status;
    char byte = 0;
    MUST(pipe(to) == 0 && pipe(from) == 0);
    struct sigaction plain = {.sa_handler = on_signal};
    struct sigaction queued = {.sa_sigaction = on_value, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &plain, NULL);
    sigaction(SIGRTMIN, &queued, NULL);
    pid_t child = fork();
    if (child == 0) {
        MUST(setpgid(0, 0) == 0);
        MUST(write(from[1], "r", 1) == 1);
        // A waiting call is interrupted.
        byte = read(to[0], &byte, 1) < 0 && errno == EINTR && caught == SIGUSR1 ? 'i' : 'n';
        MUST(write(from[1], &byte, 1) == 1);
        // One that is blocked waits until it is not.
        sigset_t set, before;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, &before);
        caught = 0;
        MUST(write(from[1], "b", 1) == 1);
        MUST(read(to[0], &byte, 1) == 1);
        byte = caught ? 'c' : 'p';
        MUST(write(from[1], &byte, 1) == 1);
        sigprocmask(SIG_SETMASK, &before, NULL);
        byte = caught == SIGUSR1 ? 'c' : 'n';
        MUST(write(from[1], &byte, 1) == 1);
        // To the group, with a value.
        while (caught != SIGRTMIN) pause();
        byte = value;
        MUST(write(from[1], &byte, 1) == 1);
        for (;;) pause();
    }
#define NEXT do { MUST(read(from[0], &byte, 1) == 1); say("child says %c\n", byte); } while (0)
    NEXT;
    for (int i = 0; i < 3; i++) sched_yield();
    usleep(300000);
    OK(kill(child, SIGUSR1));
    NEXT;
    NEXT;
    OK(kill(child, SIGUSR1));
    OK(kill(child, SIGUSR1));
    MUST(write(to[1], "x", 1) == 1);
    NEXT;
    NEXT;
    union sigval given = {.sival_int = 'v'};
    usleep(300000);
    OK(sigqueue(child, SIGRTMIN, given));
    NEXT;
    OK(kill(-child, 0));
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    OK(killpg(child, SIGTERM));
    siginfo_t info;
    SHOW(sigwaitinfo(&ends, &info));
    say("%d %d %d\n", info.si_code, info.si_status, info.si_pid == child);
    SHOW(waitpid(child, &status, 0) == child);
    SHOW(kill(-child, SIGTERM));
    struct timespec now = {0, 0};
    SHOW(sigtimedwait(&ends, NULL, &now));
}
