// kind: listen twice, bind twice, a bind of a used port, shutdown of a listener that listens again
#define PEER
#define OWN_LISTENER
#include "odd.h"

static void odd(void) {
    char byte;
    int fd = socket(AF_INET, SOCK_STREAM, 0), other = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) == 0);
    SHOW(listen(0, 5));
    SHOW(accept(fd, NULL, NULL));
    SHOW(bind(fd, (struct sockaddr *)&at, 3));
    SHOW(bind(fd, (struct sockaddr *)&at, sizeof at));
    SHOW(bind(fd, (struct sockaddr *)&at, sizeof at));
    SHOW(listen(fd, 5));
    SHOW(listen(fd, 1024));
    SHOW(bind(fd, (struct sockaddr *)&at, sizeof at));
    SHOW(bind(other, (struct sockaddr *)&at, sizeof at));
    at.sin_family = AF_INET6;
    SHOW(bind(other, (struct sockaddr *)&at, sizeof at));
    SHOW(recv(fd, &byte, 1, 0));
    SHOW(send(fd, "x", 1, MSG_NOSIGNAL));
    at.sin_family = AF_INET;
    listener = fd;
    int first = taken();
    SHOW(recv(first, &byte, 1, 0));
    SHOW(shutdown(fd, SHUT_RD));
    SHOW(accept(fd, NULL, NULL));
    SHOW(listen(fd, 16));
    put(first, "+");
    int second = taken();
    SHOW(recv(second, &byte, 1, 0));
    close(first), close(second), close(other), close(fd);
}

static void peer(void) {
    int first = dial();
    put(first, "a");
    await_sign(first);
    int second = dial();
    put(second, "b");
    drain(second);
    drain(first);
}
