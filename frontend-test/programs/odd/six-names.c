// kind: names of IPv6 and IPv4 listeners, port 0, bind errors
#define OWN_LISTENER
#include "odd.h"

static void name_of(int fd) {
    struct sockaddr_storage seen;
    socklen_t size = sizeof seen;
    char text[64] = "";
    SHOW(getsockname(fd, (struct sockaddr *)&seen, &size));
    int six = seen.ss_family == AF_INET6;
    void *bytes = six ? (void *)&((struct sockaddr_in6 *)&seen)->sin6_addr
                      : (void *)&((struct sockaddr_in *)&seen)->sin_addr;
    inet_ntop(seen.ss_family, bytes, text, sizeof text);
    int at = ntohs(((struct sockaddr_in *)&seen)->sin_port);
    say("%s, size %d, port %s\n", text, (int)size,
        at == port ? "as asked" : at ? "another" : "0");
}

static void odd(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    name_of(fd);
    struct sockaddr_in any = {.sin_family = AF_INET};
    SHOW(bind(fd, (struct sockaddr *)&any, 3));
    SHOW(bind(fd, (struct sockaddr *)&any, sizeof any));
    SHOW(bind(fd, (struct sockaddr *)&any, sizeof any));
    name_of(listen_at(AF_INET6, port));
    struct sockaddr_storage seen;
    socklen_t size = sizeof seen;
    SHOW(getpeername(fd, (struct sockaddr *)&seen, &size));
    SHOW(getsockname(0, (struct sockaddr *)&seen, &size));
    SHOW(getsockname(1000, (struct sockaddr *)&seen, &size));
    SHOW(accept(fd, NULL, NULL));
    SHOW(bind(1000, (struct sockaddr *)&any, sizeof any));
    SHOW(socket(AF_INET, 99, 0));
    SHOW(socket(999, SOCK_STREAM, 0));
}
