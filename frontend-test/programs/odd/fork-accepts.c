// kind: a forked child accepts at the listener that it inherited
#define PEER
#include "odd.h"

static void odd(void) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) _exit(2);
        if (send(fd, "+", 1, MSG_NOSIGNAL) != 1) _exit(3);
        _exit(0);
    }
    SHOW(waitpid(child, &status, 0) == child);
    say("%d\n", WEXITSTATUS(status));
}

static void peer(void) {
    int fd = dial();
    await_sign(fd);
    drain(fd);
}
