// kind: sendfile to a connection: offsets, the end, bad sources
#define PEER
#include "odd.h"
#include <sys/sendfile.h>

static void odd(void) {
    int fd = taken(), file = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600), ends[2];
    off_t at = 3;
    MUST(file >= 0 && write(file, "0123456789", 10) == 10 && pipe(ends) == 0);
    SHOW(sendfile(fd, file, &at, 4));
    say("%d\n", (int)at);
    SHOW(lseek(file, 0, SEEK_CUR));
    SHOW(lseek(file, 8, SEEK_SET));
    SHOW(sendfile(fd, file, NULL, 100));
    SHOW(sendfile(fd, file, NULL, 100));
    at = -1;
    SHOW(sendfile(fd, file, &at, 1));
    SHOW(sendfile(fd, ends[0], NULL, 1));
    SHOW(sendfile(1000, file, NULL, 1));
    SHOW(sendfile(fd, file, NULL, 0));
    close(fd);
    unlink("file");
}

static void peer(void) {
    char bytes[7] = "";
    int fd = dial();
    get(fd, bytes, 6);
    MUST(!strcmp(bytes, "345689"));
    MUST(drain(fd) == 0);
}
