// kind: sendfile to a connection from an empty pipe fails without waiting
#define PEER
#include "odd.h"
#include <sys/sendfile.h>

static void odd(void) {
    int fd = taken(), ends[2];
    MUST(pipe(ends) == 0);
    SHOW(sendfile(fd, ends[0], NULL, 1));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    drain(fd);
}
