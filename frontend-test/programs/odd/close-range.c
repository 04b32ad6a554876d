// kind: close_range and closefrom end connections
#define PEER
#include "odd.h"

static void odd(void) {
    int a = taken(), b = taken();
    put(a, "+");
    put(b, "+");
    MUST(fcntl(a, F_DUPFD, 200) == 200 && fcntl(b, F_DUPFD, 201) == 201);
    close(a);
    close(b);
    SHOW(close_range(200, 201, 0));
    SHOW(fcntl(200, F_GETFD));
    await_sign(taken());
    SHOW(close_range(5, 4, 0));
}

static void peer(void) {
    int a = dial(), b = dial();
    MUST(drain(a) == 1 && drain(b) == 1);
    put(dial(), "done");
}
