// kind: V6ONLY: both families at one port
#define PEER
#define OWN_LISTENER
#include "odd.h"

static void odd(void) {
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int six = socket(AF_INET6, SOCK_STREAM, 0);
    SHOW(setsockopt(six, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int)));
    SHOW(bind(six, (struct sockaddr *)&at, sizeof at));
    SHOW(listen(six, 4));
    listener = listen_at(AF_INET, port);
    struct pollfd wanted[] = {{six, POLLIN, 0}, {listener, POLLIN, 0}};
    SHOW(poll(wanted, 2, 10000));
    say("%d %d\n", wanted[0].revents, wanted[1].revents);
    int fd = taken();
    put(fd, "+");
    close(fd);
}

static void peer(void) {
    int fd = dial();
    await_sign(fd);
    drain(fd);
}
