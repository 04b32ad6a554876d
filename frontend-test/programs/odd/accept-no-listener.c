// kind: accept of a socketpair, a pipe, a closed descriptor and an unbound socket
#include "odd.h"

static void odd(void) {
    int pair[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    SHOW(accept(pair[0], NULL, NULL));
    SHOW(accept(0, NULL, NULL));
    SHOW(accept(1000, NULL, NULL));
    SHOW(listen(1000, 1));
    SHOW(accept(socket(AF_INET, SOCK_STREAM, 0), NULL, NULL));
}
