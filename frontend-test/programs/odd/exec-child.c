// kind: a child that execs a shell with arguments and an environment
#include "odd.h"

static void odd(void) {
    int status;
    setenv("ODD_WORD", "kept", 1);
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "test \"$ODD_WORD\" = kept && exit \"$1\"", "sh", "5", NULL);
        _exit(127);
    }
    SHOW(waitpid(child, &status, 0) == child);
    say("%d\n", WEXITSTATUS(status));
    SHOW(execl("/does/not/exist", "x", NULL));
    SHOW(execl("/dev/null", "x", NULL));
}
