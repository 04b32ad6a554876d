// kind: accept with a short buffer, without a buffer, and of other descriptors
#define PEER
#include "odd.h"

static void odd(void) {
    struct sockaddr_in from;
    socklen_t size = 6;
    int pair[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    int one = accept(listener, (struct sockaddr *)&from, &size);
    OK(one);
    say("%d\n", (int)size);
    int two = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    OK(two);
    SHOW(accept4(listener, NULL, NULL, 0x12345));
    SHOW(accept(pair[0], NULL, NULL));
    SHOW(accept(0, NULL, NULL));
    SHOW(accept(1000, NULL, NULL));
    SHOW(listen(1000, 1));
    SHOW(listen(listener, 1));
    close(one);
    close(two);
}

static void peer(void) {
    int one = dial(), two = dial();
    drain(one);
    drain(two);
}
