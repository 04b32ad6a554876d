// kind: a child writes to a pipe that the parent reads to its end
#include "odd.h"

static void odd(void) {
    int ends[2], status;
    MUST(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        for (int i = 0; i < 3; i++) {
            usleep(20000);
            MUST(write(ends[1], "child", 5) == 5);
        }
        _exit(0);
    }
    close(ends[1]);
    SHOW(drain(ends[0]));
    SHOW(waitpid(child, &status, 0) == child);
    SHOW(WEXITSTATUS(status));
}
