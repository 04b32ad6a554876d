// kind: a forked child answers on the connection that its parent accepted
#define PEER
#include "odd.h"

static void odd(void) {
    int status, fd = taken();
    pid_t child = fork();
    if (child == 0) {
        char byte;
        if (read(fd, &byte, 1) != 1) _exit(2);
        if (send(fd, "answer", 6, MSG_NOSIGNAL) != 6) _exit(3);
        _exit(0);
    }
    close(fd);
    SHOW(waitpid(child, &status, 0) == child);
    say("%d\n", WEXITSTATUS(status));
}

static void peer(void) {
    char bytes[7] = "";
    int fd = dial();
    put(fd, "?");
    get(fd, bytes, 6);
    MUST(!strcmp(bytes, "answer"));
    MUST(drain(fd) == 0);
}
