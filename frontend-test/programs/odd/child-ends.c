// kind: the ends of children by exits and signals, and what the parent hears of them
#include "odd.h"

static volatile sig_atomic_t code, status, is_child, count;
static pid_t child;

static void on_end(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    code = info->si_code, status = info->si_status, is_child = info->si_pid == child;
    count++;
}

static void end_as(int way) {
    switch (way) {
    case 0: _exit(300);
    case 1: exit(7);
    case 2: abort();
    case 3: raise(SIGUSR1); break;
    case 4: *(volatile int *)8 = 0; break;
    case 5: __builtin_trap();
    default:
        for (;;) pause();
    }
    _exit(99);
}

static void odd(void) {
    struct sigaction action = {.sa_sigaction = on_end, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGCHLD, &action, NULL);
    for (int way = 0; way < 8; way++) {
        int ended;
        code = status = is_child = 0;
        fflush(stdout);
        child = fork();
        if (child == 0) end_as(way);
        if (way == 6) OK(kill(child, SIGTERM));
        if (way == 7) OK(kill(child, SIGKILL));
        SHOW(waitpid(child, &ended, 0) == child);
        if (WIFEXITED(ended)) say("exited %d\n", WEXITSTATUS(ended));
        if (WIFSIGNALED(ended)) say("signal %d\n", WTERMSIG(ended));
        // A core file is the host's business.
        say("heard %d %d %d\n", code == CLD_DUMPED ? CLD_KILLED : code, status, is_child);
    }
    say("times %d\n", count);
    SHOW(waitpid(-1, NULL, 0));
    SHOW(waitpid(child, NULL, WNOHANG));
    SHOW(kill(child, 0));
}
