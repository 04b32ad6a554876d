// kind: posix_spawn of a shell, with its status, and of a missing program
#include "odd.h"
#include <spawn.h>

static void odd(void) {
    int status;
    pid_t child;
    char *arguments[] = {"sh", "-c", "exit 9", NULL}, *names[] = {NULL};
    CODE(posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, names));
    SHOW(waitpid(child, &status, 0) == child);
    say("%d\n", WEXITSTATUS(status));
    CODE(posix_spawnp(&child, "does-not-exist", NULL, NULL, arguments, names));
}
