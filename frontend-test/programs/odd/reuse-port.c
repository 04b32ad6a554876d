// kind: SO_REUSEPORT, two listeners at one port
#define PEER
#define OWN_LISTENER
#include "odd.h"

static int open_one(int reuse) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (reuse) MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)) == 0);
    if (bind(fd, (struct sockaddr *)&at, sizeof at)) return -1;
    return listen(fd, 16) ? -1 : fd;
}

static void odd(void) {
    int one = open_one(1), two = open_one(1), served = 0;
    OK(one);
    OK(two);
    OK(open_one(0));
    while (served < 10) {
        struct pollfd wanted[] = {{one, POLLIN, 0}, {two, POLLIN, 0}};
        MUST(poll(wanted, 2, 5000) > 0);
        for (int i = 0; i < 2; i++) {
            if (!wanted[i].revents) continue;
            int fd = accept(wanted[i].fd, NULL, NULL);
            MUST(fd >= 0);
            put(fd, "+");
            close(fd);
            served++;
        }
    }
    say("%d\n", served);
}

static void peer(void) {
    for (int i = 0; i < 10; i++) {
        int fd = dial();
        await_sign(fd);
        drain(fd);
        close(fd);
    }
}
