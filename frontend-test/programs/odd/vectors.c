// kind: writev, readv, preadv, pwritev: no parts, empty parts, too many
#define PEER
#include "odd.h"

static void odd(void) {
    char a[2], b[4];
    int fd = taken();
    struct iovec out[] = {{"ab", 2}, {NULL, 0}, {"cde", 3}}, in[] = {{a, 2}, {NULL, 0}, {b, 3}};
    static struct iovec many[1025];
    SHOW(writev(fd, out, 3));
    SHOW(writev(fd, out, 0));
    volatile int negative = -1;
    SHOW(writev(fd, out, negative));
    SHOW(writev(fd, many, 1024));
    SHOW(writev(fd, many, 1025));
    SHOW(recv(fd, a, 1, MSG_PEEK));
    while (recv(fd, (char[8]){0}, 5, MSG_PEEK) < 5) usleep(1000);
    SHOW(readv(fd, in, 3));
    say("%.2s %.3s\n", a, b);
    SHOW(readv(fd, in, 0));
    SHOW(preadv(fd, in, 3, 0));
    SHOW(pwritev(fd, out, 3, 0));
    SHOW(pread(fd, a, 1, 0));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(write(fd, "", 0));
    SHOW(send(fd, "", 0, 0));
    SHOW(read(fd, a, 0));
    close(fd);
}

static void peer(void) {
    char bytes[5];
    int fd = dial();
    get(fd, bytes, 5);
    put(fd, "fghij");
    MUST(drain(fd) == 0);
}
