// kind: sendfile with bad descriptors and no bytes
#define PEER
#include "odd.h"
#include <sys/sendfile.h>

static void odd(void) {
    int fd = taken(), file = open("/dev/zero", O_RDONLY);
    SHOW(sendfile(1000, file, NULL, 1));
    SHOW(sendfile(fd, 1000, NULL, 1));
    SHOW(sendfile(fd, file, NULL, 0));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    drain(fd);
}
