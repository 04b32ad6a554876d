// kind: pids of parent and child as both see them
#include "odd.h"

static void odd(void) {
    int status, ends[2];
    pid_t own = getpid(), seen[2];
    MUST(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        seen[0] = getpid();
        seen[1] = getppid();
        _exit(write(ends[1], seen, sizeof seen) != sizeof seen);
    }
    SHOW(waitpid(child, &status, 0) == child);
    SHOW(read(ends[0], seen, sizeof seen));
    say("child %d, parent %d, others %d\n", seen[0] == child, seen[1] == own, child != own);
}
