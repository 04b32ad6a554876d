// kind: posix_spawn with file actions and an environment
#include "odd.h"
#include <spawn.h>

static void odd(void) {
    int ends[2], status;
    char text[64] = "";
    pid_t child;
    posix_spawn_file_actions_t actions;
    MUST(pipe2(ends, O_CLOEXEC) == 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    char *arguments[] = {"sh", "-c", "echo $WORD; exit 9", NULL}, *names[] = {"WORD=odd", NULL};
    CODE(posix_spawn(&child, "/bin/sh", &actions, NULL, arguments, names));
    close(ends[1]);
    SHOW(read(ends[0], text, sizeof text - 1));
    say("%s", text);
    SHOW(waitpid(child, &status, 0) == child);
    say("%d\n", WEXITSTATUS(status));
    CODE(posix_spawn(&child, "/does/not/exist", NULL, NULL, arguments, names));
}
