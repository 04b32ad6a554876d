// kind: wait, waitpid, waitid, wait3, wait4; statuses of exits and signals
#include "odd.h"
#include <sys/resource.h>

static pid_t child_with(int code) {
    pid_t child = fork();
    if (child == 0) {
        if (code < 0) {
            signal(-code, SIG_DFL);
            raise(-code);
        }
        _exit(code);
    }
    return child;
}

static void odd(void) {
    int status;
    siginfo_t info;
    struct rusage used;
    pid_t child = child_with(3);
    SHOW(wait(&status) == child);
    say("%d %d\n", WIFEXITED(status), WEXITSTATUS(status));
    child = child_with(-SIGTERM);
    SHOW(waitpid(child, &status, 0) == child);
    say("%d %d\n", WIFSIGNALED(status), WTERMSIG(status));
    child = child_with(4);
    SHOW(waitid(P_PID, child, &info, WEXITED | WNOWAIT));
    say("%d %d\n", info.si_status, info.si_code == CLD_EXITED);
    SHOW(waitid(P_ALL, 0, &info, WEXITED));
    child = child_with(5);
    SHOW(wait3(&status, 0, &used) == child);
    child = child_with(6);
    SHOW(wait4(child, &status, 0, &used) == child);
    say("%d\n", WEXITSTATUS(status));
    SHOW(wait(&status));
    SHOW(waitpid(-1, &status, WNOHANG));
}
