// kind: waiting connections are accepted in their order, even if they have ended
#define PEER
#include "odd.h"

static void odd(void) {
    int first = taken();
    await_sign(first);
    for (int i = 0; i < 5; i++) {
        char text[8] = "";
        int fd = taken();
        SHOW(read(fd, text, sizeof text - 1));
        say("%s\n", text);
        SHOW(read(fd, text, 1));
        close(fd);
    }
    close(first);
}

static void peer(void) {
    int first = dial();
    for (int i = 0; i < 5; i++) {
        int fd = dial();
        put(fd, (char[]){'a' + i, 0});
        close(fd);
    }
    put(first, "+");
    drain(first);
}
