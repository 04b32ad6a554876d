// kind: getsockname and getpeername: full, short and missing buffers
#define PEER
#include "odd.h"

static void odd(void) {
    struct sockaddr_in from, own, other;
    char small[8] = "zzzzzzz";
    socklen_t size = sizeof from;
    int fd = accept(listener, (struct sockaddr *)&from, &size);
    OK(fd);
    say("%d %d %s\n", from.sin_family == AF_INET, (int)size, inet_ntoa(from.sin_addr));
    size = sizeof own;
    SHOW(getsockname(fd, (struct sockaddr *)&own, &size));
    say("%d %s\n", ntohs(own.sin_port) == port, inet_ntoa(own.sin_addr));
    size = sizeof other;
    SHOW(getpeername(fd, (struct sockaddr *)&other, &size));
    say("as accepted %d\n", !memcmp(&other, &from, sizeof other));
    size = 4;
    SHOW(getpeername(fd, (struct sockaddr *)small, &size));
    say("size %d, untouched %s\n", (int)size, small + 4);
    size = 0;
    SHOW(getsockname(fd, (struct sockaddr *)small, &size));
    say("size %d\n", (int)size);
    size = -1;
    SHOW(getsockname(fd, (struct sockaddr *)small, &size));
    put(fd, "+");
    drain(fd);
    size = sizeof other;
    SHOW(getpeername(fd, (struct sockaddr *)&other, &size));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    await_sign(fd);
    close(fd);
}
