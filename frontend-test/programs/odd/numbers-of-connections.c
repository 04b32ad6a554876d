// kind: dup3, F_DUPFD, F_DUPFD_CLOEXEC and their flags on a connection and a listener
#define PEER
#include "odd.h"

static void flags(const char *what, int fd) {
    say("%s: close-on-exec %d, non-blocking %d\n", what, fcntl(fd, F_GETFD),
        (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
}

static void odd(void) {
    char byte;
    int fd = taken();
    SHOW(fcntl(fd, F_DUPFD, 500));
    flags("500", 500);
    SHOW(fcntl(fd, F_DUPFD_CLOEXEC, 500));
    flags("501", 501);
    SHOW(dup3(fd, 502, O_CLOEXEC));
    flags("502", 502);
    SHOW(dup3(fd, 503, O_NONBLOCK));
    SHOW(dup3(fd, fd, 0));
    SHOW(dup2(fd, fd) == fd);
    SHOW(dup3(fd, 0x7fffffff, 0));
    SHOW(fcntl(fd, F_DUPFD, -1));
    SHOW(fcntl(500, F_SETFL, O_NONBLOCK));
    flags("first", fd);
    SHOW(fcntl(501, F_SETFD, 0));
    flags("501", 501);
    SHOW(ioctl(502, FIOCLEX));
    flags("502", 502);
    SHOW(ioctl(502, FIONCLEX));
    flags("502", 502);
    SHOW(close(fd));
    SHOW(recv(500, &byte, 1, 0));
    SHOW(ioctl(501, FIONBIO, &(int){0}));
    put(500, "+");
    SHOW(recv(501, &byte, 1, 0));
    SHOW(fcntl(listener, F_DUPFD, 600));
    SHOW(close(listener));
    flags("600", 600);
    put(502, "+");
    int second = accept(600, NULL, NULL);
    SHOW(second == listener || second == fd);
    SHOW(fcntl(500, F_SETFL, O_APPEND | O_ASYNC | O_NONBLOCK));
    say("%d\n", (fcntl(501, F_GETFL) & (O_APPEND | O_NONBLOCK)) == (O_APPEND | O_NONBLOCK));
    SHOW(fcntl(500, 9999, 0));
    close(500), close(501), close(502), close(second);
}

static void peer(void) {
    int fd = dial();
    await_sign(fd);
    put(fd, "x");
    await_sign(fd);
    int second = dial();
    drain(second);
    drain(fd);
}
