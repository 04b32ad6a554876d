// kind: listeners at two addresses of one port, and twice at one address
#define OWN_LISTENER
#include "odd.h"

static int at(const char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, text, &address.sin_addr);
    if (bind(fd, (struct sockaddr *)&address, sizeof address)) return -1;
    return listen(fd, 4) ? -1 : fd;
}

static void odd(void) {
    OK(at("127.0.0.1"));
    OK(at("127.0.0.9"));
    OK(at("127.0.0.1"));
    OK(at("0.0.0.0"));
    OK(at("192.0.2.77"));
}
