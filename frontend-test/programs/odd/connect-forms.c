// kind: connect: refused, nonblocking, bad families, SO_ERROR
#include "odd.h"

static void odd(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(1),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int error = 0, fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t size = sizeof error;
    SHOW(connect(fd, (struct sockaddr *)&at, sizeof at));
    SHOW(connect(fd, (struct sockaddr *)&at, 3));
    SHOW(connect(1000, (struct sockaddr *)&at, sizeof at));
    SHOW(connect(0, (struct sockaddr *)&at, sizeof at));
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    say("in progress or refused %d\n", connect(fd, (struct sockaddr *)&at, sizeof at) == -1 &&
        (errno == EINPROGRESS || errno == ECONNREFUSED));
    struct pollfd wanted = {fd, POLLOUT, 0};
    SHOW(poll(&wanted, 1, 1000));
    SHOW(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
    say("%s\n", strerrorname_np(error));
    SHOW(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
    say("%d\n", error);
    at.sin_family = 99;
    SHOW(connect(fd, (struct sockaddr *)&at, sizeof at));
}
