// kind: a Unix listener by path: bind, listen, accept, names, unlink
#include "odd.h"

static const char path[] = "odd.socket";

static void *visit(void *argument) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strcpy(at.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    MUST(connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    put(fd, "hello");
    MUST(drain(fd) == 5);
    close(fd);
    return argument;
}

static void odd(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX}, seen;
    socklen_t size = sizeof seen;
    char bytes[8];
    pthread_t thread;
    strcpy(at.sun_path, path);
    unlink(path);
    int local = socket(AF_UNIX, SOCK_STREAM, 0);
    SHOW(bind(local, (struct sockaddr *)&at, sizeof at));
    SHOW(bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&at, sizeof at));
    SHOW(listen(local, 4));
    SHOW(getsockname(local, (struct sockaddr *)&seen, &size));
    say("%s\n", seen.sun_path);
    start(&thread, visit, NULL);
    size = sizeof seen;
    int fd = accept(local, (struct sockaddr *)&seen, &size);
    OK(fd);
    say("peer's address has %d bytes\n", (int)size);
    get(fd, bytes, 5);
    put(fd, "world");
    SHOW(close(fd));
    pthread_join(thread, NULL);
    SHOW(unlink(path));
}
