// kind: a dual-stack listener takes IPv4 clients as mapped addresses
#define PEER
#define OWN_LISTENER
#include "odd.h"

static void odd(void) {
    struct sockaddr_in6 from;
    socklen_t size = sizeof from;
    int only = -1;
    listener = listen_at(AF_INET6, port);
    socklen_t length = sizeof only;
    SHOW(getsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &only, &length));
    say("only %d\n", only);
    int fd = accept(listener, (struct sockaddr *)&from, &size);
    OK(fd);
    say("family %d, size %d, mapped %d\n", from.sin6_family == AF_INET6, (int)size,
        IN6_IS_ADDR_V4MAPPED(&from.sin6_addr));
    size = sizeof from;
    SHOW(getsockname(fd, (struct sockaddr *)&from, &size));
    say("family %d, mapped %d, port %d\n", from.sin6_family == AF_INET6,
        IN6_IS_ADDR_V4MAPPED(&from.sin6_addr), ntohs(from.sin6_port) == port);
    put(fd, "+");
    close(fd);
}

static void peer(void) {
    int fd = dial();
    await_sign(fd);
    drain(fd);
}
