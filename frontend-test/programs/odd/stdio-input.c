// kind: the standard descriptors: stdin, isatty, fcntl
#include "odd.h"

static void odd(void) {
    for (int fd = 0; fd < 3; fd++) {
        SHOW(fcntl(fd, F_GETFD));
        SHOW(isatty(fd));
    }
    char byte;
    SHOW(read(0, &byte, 1));
    struct pollfd wanted = {0, POLLIN, 0};
    SHOW(poll(&wanted, 1, 0) >= 0);
    SHOW(close(0));
    SHOW(open("/dev/null", O_RDONLY));
}
