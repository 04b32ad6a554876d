// kind: MSG_PEEK leaves bytes where they are
#define PEER
#include "odd.h"

static void odd(void) {
    char bytes[16] = "";
    int fd = taken();
    SHOW(recv(fd, bytes, 5, MSG_PEEK | MSG_WAITALL));
    SHOW(recv(fd, bytes, 2, MSG_PEEK));
    SHOW(recv(fd, bytes, 2, 0));
    say("%.2s\n", bytes);
    SHOW(recv(fd, bytes, 3, MSG_PEEK));
    SHOW(recv(fd, bytes, 3, 0));
    say("%.3s\n", bytes);
    SHOW(recv(fd, bytes, 1, MSG_PEEK | MSG_DONTWAIT));
    put(fd, "+");
    SHOW(recv(fd, bytes, 1, MSG_PEEK));
    SHOW(recv(fd, bytes, 1, 0));
}

static void peer(void) {
    int fd = dial();
    put(fd, "hello");
    await_sign(fd);
    close(fd);
}
