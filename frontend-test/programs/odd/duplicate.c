// kind: dup, dup2, dup3, F_DUPFD, F_DUPFD_CLOEXEC of a connection
#define PEER
#include "odd.h"

static void odd(void) {
    char byte;
    int fd = taken(), copy = dup(fd);
    OK(copy);
    SHOW(fcntl(fd, F_DUPFD, 100));
    SHOW(fcntl(fd, F_DUPFD_CLOEXEC, 100));
    SHOW(fcntl(101, F_GETFD));
    SHOW(dup2(fd, 120));
    SHOW(dup3(fd, 121, O_CLOEXEC));
    SHOW(dup3(fd, fd, 0));
    SHOW(dup2(1000, 5));
    SHOW(dup2(fd, fd) == fd);
    SHOW(close(fd));
    put(120, "+");
    SHOW(read(100, &byte, 1));
    SHOW(fcntl(100, F_SETFL, O_NONBLOCK));
    SHOW(fcntl(copy, F_GETFL) & O_NONBLOCK ? 1 : 0);
    SHOW(read(121, &byte, 1));
    int rest[] = {copy, 100, 101, 120};
    for (int i = 0; i < 4; i++) MUST(close(rest[i]) == 0);
    SHOW(send(121, "!", 1, MSG_NOSIGNAL));
    SHOW(close(121));
    SHOW(close(121));
}

static void peer(void) {
    int fd = dial();
    await_sign(fd);
    put(fd, "x");
    MUST(drain(fd) == 1);
}
