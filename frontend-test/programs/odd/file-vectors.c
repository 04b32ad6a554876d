// kind: preadv2 and pwritev2 of a file, with flags and at the file's own offset
#include "odd.h"

static void odd(void) {
    char a[3] = "", b[8] = "";
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    struct iovec out[] = {{"01", 2}, {"23456", 5}}, in[] = {{a, 2}, {b, 7}};
    SHOW(pwritev2(fd, out, 2, 3, 0));
    SHOW(pwritev2(fd, out, 2, -1, RWF_APPEND));
    SHOW(lseek(fd, 0, SEEK_CUR) >= 0);
    SHOW(preadv2(fd, in, 2, 3, 0));
    say("%s %s\n", a, b);
    SHOW(preadv2(fd, in, 2, 0, 0x4000));
    SHOW(unlink("file"));
}
