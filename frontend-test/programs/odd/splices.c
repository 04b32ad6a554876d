// kind: splice from a connection to a pipe and back, tee, vmsplice
#define PEER
#include "odd.h"

static void odd(void) {
    char bytes[16] = "";
    int fd = taken(), one[2], two[2];
    MUST(pipe(one) == 0 && pipe(two) == 0);
    SHOW(recv(fd, bytes, 5, MSG_PEEK | MSG_WAITALL));
    SHOW(splice(fd, NULL, one[1], NULL, 5, 0));
    SHOW(tee(one[0], two[1], 5, 0));
    SHOW(read(two[0], bytes, 16));
    say("%s\n", bytes);
    SHOW(splice(one[0], NULL, fd, NULL, 5, 0));
    struct iovec part = {"vm", 2};
    SHOW(vmsplice(one[1], &part, 1, 0));
    SHOW(splice(one[0], NULL, fd, NULL, 2, 0));
    SHOW(splice(one[0], NULL, fd, NULL, 2, SPLICE_F_NONBLOCK));
    SHOW(splice(fd, NULL, fd, NULL, 2, 0));
    close(fd);
}

static void peer(void) {
    char bytes[8] = "";
    int fd = dial();
    put(fd, "hello");
    get(fd, bytes, 7);
    MUST(!strcmp(bytes, "hellovm"));
    drain(fd);
}
