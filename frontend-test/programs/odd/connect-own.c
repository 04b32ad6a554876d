// kind: a program that connects to its own listener, in blocking and non-blocking ways
#include "odd.h"

static void odd(void) {
    char bytes[8];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, name;
    socklen_t size = sizeof name;
    int out = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(connect(out, (struct sockaddr *)&at, sizeof at));
    int fd = taken();
    SHOW(write(out, "hello", 5));
    SHOW(recv(fd, bytes, 5, MSG_WAITALL));
    SHOW(write(fd, "back", 4));
    SHOW(recv(out, bytes, 4, MSG_WAITALL));
    SHOW(getpeername(out, (struct sockaddr *)&name, &size));
    SHOW(ntohs(name.sin_port) == port);
    SHOW(connect(out, (struct sockaddr *)&at, sizeof at));
    SHOW(close(out));
    SHOW(recv(fd, bytes, 1, 0));
    close(fd);
    out = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int first = connect(out, (struct sockaddr *)&at, sizeof at);
    SHOW(first == 0 || errno == EINPROGRESS);
    struct pollfd wanted = {out, POLLOUT, 0};
    SHOW(poll(&wanted, 1, 5000));
    SHOW(wanted.revents);
    int error = -1;
    size = sizeof error;
    SHOW(getsockopt(out, SOL_SOCKET, SO_ERROR, &error, &size));
    SHOW(error);
    fd = taken();
    SHOW(read(out, bytes, 1));
    SHOW(shutdown(fd, SHUT_WR));
    SHOW(poll(&(struct pollfd){out, POLLIN, 0}, 1, 5000));
    SHOW(read(out, bytes, 1));
    close(fd), close(out);
}
