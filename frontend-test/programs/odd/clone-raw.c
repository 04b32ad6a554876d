// kind: vfork and exec, clone by libc without a new address space
#include "odd.h"
#include <sched.h>

static int child_part(void *argument) {
    *(volatile int *)argument = 5;
    return 9;
}

static void odd(void) {
    int status;
    volatile int word = 0;
    static char stack[65536] __attribute__((aligned(16)));
    pid_t child = vfork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "exit 6", NULL);
        _exit(127);
    }
    SHOW(waitpid(child, &status, 0) == child);
    say("%d\n", WEXITSTATUS(status));
    child = clone(child_part, stack + sizeof stack, SIGCHLD, (void *)&word);
    OK(child);
    SHOW(waitpid(child, &status, 0) == child);
    say("%d %d\n", WEXITSTATUS(status), word);
}
