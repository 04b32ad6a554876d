// kind: children whose parents have ended, or do not want to hear of them
// needs: --floor
#include "odd.h"

static void odd(void) {
    int ends[2], begun[2], status;
    char byte;
    MUST(pipe(ends) == 0 && pipe(begun) == 0);
    pid_t child = fork();
    if (child == 0) {
        if (fork() == 0) {
            // Its parent ends behind this.
            pid_t parent = getppid();
            MUST(write(begun[1], "b", 1) == 1);
            for (int i = 0; i < 1000 && getppid() == parent; i++) usleep(1000);
            byte = getppid() != parent;
            MUST(write(ends[1], &byte, 1) == 1);
            _exit(0);
        }
        MUST(read(begun[0], &byte, 1) == 1);
        _exit(5);
    }
    SHOW(waitpid(child, &status, 0) == child);
    say("child %d\n", WEXITSTATUS(status));
    close(ends[1]);
    SHOW(read(ends[0], &byte, 1));
    say("another parent %d\n", byte);
    SHOW(read(ends[0], &byte, 1));
    SHOW(waitpid(-1, &status, WNOHANG));
    signal(SIGCHLD, SIG_IGN);
    child = fork();
    if (child == 0) _exit(3);
    // The call ends with its end, and has nothing to say.
    SHOW(waitpid(child, &status, 0));
    SHOW(kill(child, 0));
    signal(SIGCHLD, SIG_DFL);
    child = fork();
    if (child == 0) _exit(4);
    siginfo_t info;
    SHOW(waitid(P_PID, child, &info, WEXITED | WNOWAIT));
    SHOW(kill(child, 0));
    say("%d %d %d\n", info.si_code == CLD_EXITED, info.si_status, info.si_pid == child);
    SHOW(waitid(P_ALL, 0, &info, WEXITED));
    SHOW(waitid(P_ALL, 0, &info, WEXITED | WNOHANG));
}
