// kind: close in a forked child leaves the parent's connection open
#define PEER
#include "odd.h"

static void odd(void) {
    int status, fd = taken();
    pid_t child = fork();
    if (child == 0) {
        close(fd);
        close(listener);
        _exit(close(fd) == -1 && errno == EBADF ? 5 : 6);
    }
    SHOW(waitpid(child, &status, 0) == child);
    say("%d\n", WEXITSTATUS(status));
    put(fd, "+");
    SHOW(drain(fd));
}

static void peer(void) {
    int fd = dial();
    await_sign(fd);
    put(fd, "abc");
    close(fd);
}
