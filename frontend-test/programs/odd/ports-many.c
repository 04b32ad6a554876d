// kind: sockets that ask for any port, more often than there are ports
#include "odd.h"

#define TIMES 40000

static void odd(void) {
    int bad = 0;
    for (int time = 0; time < TIMES; time++) {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof at;
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        MUST(fd >= 0);
        if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0) bad |= 1;
        if (getsockname(fd, (struct sockaddr *)&at, &length) != 0) bad |= 2;
        if (ntohs(at.sin_port) < 1024) bad |= 4;
        close(fd);
    }
    SHOW(bad);
}
