// kind: splice from a pipe to a connection
#define PEER
#include "odd.h"

static void odd(void) {
    int fd = taken(), ends[2];
    MUST(pipe(ends) == 0 && write(ends[1], "piped", 5) == 5);
    SHOW(splice(ends[0], NULL, fd, NULL, 5, 0));
    close(fd);
}

static void peer(void) {
    char bytes[6] = "";
    int fd = dial();
    get(fd, bytes, 5);
    MUST(!strcmp(bytes, "piped"));
    drain(fd);
}
