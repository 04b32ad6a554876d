// kind: a Unix listener by path, to which children of the server connect, in accept and in poll
#include "odd.h"

static const char path[] = "odd.socket";

/* Connects in a child, which takes no turns. */
static pid_t visit(const struct sockaddr_un *at) {
    pid_t child = fork();
    if (child == 0) {
        usleep(20000);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (const struct sockaddr *)at, sizeof *at) != 0) {
            _exit(1);
        }
        _exit(write(fd, "hello", 5) == 5 ? 0 : 2);
    }
    return child;
}

static void odd(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strcpy(at.sun_path, path);
    int local = socket(AF_UNIX, SOCK_STREAM, 0);
    MUST(bind(local, (struct sockaddr *)&at, sizeof at) == 0 && listen(local, 4) == 0);
    for (int polls = 0; polls < 2; polls++) {
        char bytes[8];
        int status;
        struct pollfd wanted = {local, POLLIN, 0};
        pid_t child = visit(&at);
        MUST(child > 0);
        if (polls) {
            SHOW(poll(&wanted, 1, 5000));
        }
        int fd = accept(local, NULL, NULL);
        OK(fd);
        get(fd, bytes, 5);
        SHOW(read(fd, bytes, 1));
        SHOW(close(fd));
        SHOW(waitpid(child, &status, 0) == child);
        say("%d\n", WEXITSTATUS(status));
    }
    SHOW(unlink(path));
}
