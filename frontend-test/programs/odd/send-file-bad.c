// kind: sendfile with bad descriptors, objects that are no files, and no bytes
#define PEER
#include "odd.h"
#include <sys/sendfile.h>

static void odd(void) {
    int fd = taken(), file = open("/dev/zero", O_RDONLY);
    SHOW(sendfile(1000, file, NULL, 1));
    SHOW(sendfile(fd, 1000, NULL, 1));
    SHOW(sendfile(fd, file, NULL, 0));
    int folder = open("/", O_RDONLY), place = open("/", O_PATH), ends[2];
    off_t at = 0;
    MUST(pipe(ends) == 0);
    SHOW(sendfile(fd, folder, NULL, 1));
    SHOW(sendfile(fd, folder, &at, 1));
    SHOW(sendfile(fd, place, NULL, 1));
    SHOW(sendfile(fd, place, &at, 1));
    SHOW(sendfile(fd, ends[0], &at, 1));
    SHOW(sendfile(fd, fd, &at, 1));
    SHOW(at);
    SHOW(sendfile(fd, file, &at, 3));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    drain(fd);
}
