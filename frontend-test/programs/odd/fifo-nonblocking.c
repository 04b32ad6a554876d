// kind: a FIFO opened without waiting, poll, EOF
#include "odd.h"

static void odd(void) {
    char bytes[8];
    SHOW(mkfifo("fifo", 0600));
    int from = open("fifo", O_RDONLY | O_NONBLOCK), to = open("fifo", O_WRONLY | O_NONBLOCK);
    MUST(from >= 0 && to >= 0);
    SHOW(read(from, bytes, 8));
    SHOW(write(to, "fifo", 4));
    struct pollfd wanted = {from, POLLIN, 0};
    SHOW(poll(&wanted, 1, 1000));
    SHOW(read(from, bytes, 8));
    SHOW(close(to));
    SHOW(read(from, bytes, 8));
    SHOW(unlink("fifo"));
}
