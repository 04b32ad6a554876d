// kind: an abstract Unix listener and SO_PEERCRED
#include "odd.h"
#include <stddef.h>

static struct sockaddr_un at = {.sun_family = AF_UNIX};
static socklen_t size;

static void *visit(void *argument) {
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    MUST(connect(fd, (struct sockaddr *)&at, size) == 0);
    MUST(send(fd, "one", 3, 0) == 3 && send(fd, "three", 5, 0) == 5);
    close(fd);
    return argument;
}

static void odd(void) {
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    char bytes[8];
    pthread_t thread;
    size = offsetof(struct sockaddr_un, sun_path) + 1 +
           snprintf(at.sun_path + 1, 64, "odd-%d-%d", (int)getpid(), port);
    int local = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    SHOW(bind(local, (struct sockaddr *)&at, size));
    SHOW(listen(local, 4));
    start(&thread, visit, NULL);
    int fd = accept(local, NULL, NULL);
    OK(fd);
    SHOW(recv(fd, bytes, 8, 0));
    SHOW(recv(fd, bytes, 2, MSG_TRUNC));
    SHOW(recv(fd, bytes, 8, 0));
    SHOW(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length));
    say("own %d\n", credentials.pid == getpid());
    pthread_join(thread, NULL);
}
