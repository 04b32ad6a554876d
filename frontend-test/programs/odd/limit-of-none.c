// kind: calls about open files, and waits, once the limit of open files is 0
#include "odd.h"
#include <sys/resource.h>

static int ends[2];

static void *reader(void *unused) {
    char text[8] = "";
    SHOW(read(ends[0], text, 3));
    say("%s\n", text);
    return unused;
}

static void odd(void) {
    int pair[2], status;
    char byte;
    MUST(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    struct rlimit none = {0, 1000};
    SHOW(setrlimit(RLIMIT_NOFILE, &none));
    SHOW(pipe((int[2]){0}));
    SHOW(dup(0));
    struct pollfd entry = {ends[1], POLLOUT, 0};
    SHOW(poll(&entry, 1, 0));
    SHOW(poll(NULL, 0, 1));
    fd_set wanted;
    FD_ZERO(&wanted);
    FD_SET(ends[1], &wanted);
    SHOW(select(ends[1] + 1, NULL, &wanted, NULL, NULL));
    // Between threads, and between processes.
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, reader, NULL) == 0);
    SHOW(write(ends[1], "one", 3));
    MUST(pthread_join(thread, NULL) == 0);
    pid_t child = fork();
    if (!child) {
        MUST(read(pair[1], &byte, 1) == 1);
        _exit(write(pair[1], &byte, 1));
    }
    SHOW(write(pair[0], "t", 1));
    SHOW(read(pair[0], &byte, 1));
    SHOW(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 1);
}
