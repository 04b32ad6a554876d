// kind: libc's syscall(SYS_close) ends connections, whose numbers are used again
#define PEER
#include "odd.h"
#include <sys/resource.h>

static void odd(void) {
    int fd = -1;
    struct rlimit limit = {40, 40};
    MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (int i = 0; i < 100; i++) {
        fd = taken();
        put(fd, "+");
        MUST(syscall(SYS_close, fd) == 0);
    }
    say("100 connections\n");
    SHOW(syscall(SYS_close, 39));
}

static void peer(void) {
    for (int i = 0; i < 100; i++) {
        int fd = dial();
        MUST(drain(fd) == 1);
        close(fd);
    }
}
