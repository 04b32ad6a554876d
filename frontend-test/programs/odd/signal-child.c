// kind: SIGCHLD's handler writes to a self-pipe for which poll waits
#include "odd.h"

static int ends[2];

static void wake(int number) { MUST(write(ends[1], "c", 1) == 1); }

static void odd(void) {
    int status;
    MUST(pipe(ends) == 0);
    handle(SIGCHLD, wake, SA_RESTART);
    pid_t child = fork();
    if (child == 0) {
        usleep(100000);
        _exit(7);
    }
    struct pollfd wanted = {ends[0], POLLIN, 0};
    int result;
    while ((result = poll(&wanted, 1, 5000)) < 0) say("poll: %s\n", strerrorname_np(errno));
    say("poll: %d\n", result);
    SHOW(waitpid(child, &status, WNOHANG) == child);
    say("status %d\n", WEXITSTATUS(status));
}
