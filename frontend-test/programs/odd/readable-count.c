// kind: FIONREAD and FIONBIO of a connection, a pipe, a listener, SIOCATMARK
#define PEER
#include "odd.h"

static void odd(void) {
    int count = -1, ends[2], fd = taken();
    char bytes[8];
    SHOW(recv(fd, bytes, 5, MSG_PEEK | MSG_WAITALL));
    SHOW(ioctl(fd, FIONREAD, &count));
    say("%d\n", count);
    SHOW(read(fd, bytes, 3));
    SHOW(ioctl(fd, FIONREAD, &count));
    say("%d\n", count);
    MUST(pipe(ends) == 0 && write(ends[1], "four", 4) == 4);
    SHOW(ioctl(ends[0], FIONREAD, &count));
    say("%d\n", count);
    SHOW(ioctl(listener, FIONREAD, &count));
    SHOW(ioctl(fd, FIONBIO, &(int){1}));
    SHOW(fcntl(fd, F_GETFL) & O_NONBLOCK ? 1 : 0);
    SHOW(read(fd, bytes, 8));
    SHOW(read(fd, bytes, 8));
    SHOW(ioctl(fd, FIONBIO, &(int){0}));
    SHOW(ioctl(1000, FIONREAD, &count));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    put(fd, "01234");
    drain(fd);
}
