// kind: pipes, eventfds and file locks between three processes, and what their exits close
// needs: --floor
#include "odd.h"
#include <sys/file.h>

static pid_t stage(int in, int out, int add, int *others, int count) {
    pid_t child = fork();
    if (child) return child;
    for (int i = 0; i < count; i++) if (others[i] != in && others[i] != out) close(others[i]);
    char byte;
    while (read(in, &byte, 1) == 1) {
        byte += add;
        MUST(write(out, &byte, 1) == 1);
    }
    _exit(add);
}

static void odd(void) {
    int all[6], status;
    MUST(pipe(all) == 0 && pipe(all + 2) == 0 && pipe(all + 4) == 0);
    pid_t first = stage(all[0], all[3], 1, all, 6), second = stage(all[2], all[5], 2, all, 6);
    close(all[0]), close(all[2]), close(all[3]), close(all[5]);
    for (int i = 0; i < 5; i++) MUST(write(all[1], "adgjm" + i, 1) == 1);
    char text[6] = "";
    for (int got = 0; got < 5;) {
        struct pollfd wanted = {all[4], POLLIN, 0};
        MUST(poll(&wanted, 1, -1) == 1);
        int more = read(all[4], text + got, 5 - got);
        MUST(more > 0);
        got += more;
    }
    say("%s\n", text);
    close(all[1]);
    SHOW(read(all[4], text, 1));
    SHOW(waitpid(first, &status, 0) == first && WEXITSTATUS(status) == 1);
    SHOW(waitpid(second, &status, 0) == second && WEXITSTATUS(status) == 2);
    // A reader that has ended.
    signal(SIGPIPE, SIG_IGN);
    MUST(pipe(all) == 0);
    pid_t child = fork();
    if (child == 0) _exit(0);
    close(all[0]);
    SHOW(waitpid(child, &status, 0) == child);
    SHOW(write(all[1], "x", 1));
    // A lock of a file, which an exit gives back.
    char name[] = "/tmp/child-pipes-XXXXXX";
    int file = mkstemp(name), ready = eventfd(0, 0);
    uint64_t one = 1;
    MUST(file >= 0 && ready >= 0);
    child = fork();
    if (child == 0) {
        int own = open(name, O_RDWR);
        MUST(flock(own, LOCK_EX) == 0 && write(ready, &one, 8) == 8);
        usleep(20000);
        _exit(0);
    }
    SHOW(read(ready, &one, 8));
    SHOW(flock(file, LOCK_EX | LOCK_NB));
    SHOW(flock(file, LOCK_EX));
    SHOW(waitpid(child, &status, 0) == child);
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
    child = fork();
    if (child == 0) {
        MUST(fcntl(file, F_SETLK, &range) == 0 && write(ready, &one, 8) == 8);
        usleep(20000);
        _exit(0);
    }
    SHOW(read(ready, &one, 8));
    SHOW(fcntl(file, F_SETLK, &range) < 0 && (errno == EAGAIN || errno == EACCES));
    SHOW(fcntl(file, F_SETLKW, &range));
    SHOW(waitpid(child, &status, 0) == child);
    unlink(name);
}
