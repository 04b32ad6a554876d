// kind: UDP over the loopback between two sockets of the program
#include "odd.h"

static void odd(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in from;
    socklen_t size = sizeof at;
    char bytes[16] = "";
    int one = socket(AF_INET, SOCK_DGRAM, 0), two = socket(AF_INET, SOCK_DGRAM, 0);
    SHOW(bind(one, (struct sockaddr *)&at, sizeof at));
    SHOW(getsockname(one, (struct sockaddr *)&at, &size));
    SHOW(sendto(two, "datagram", 8, 0, (struct sockaddr *)&at, sizeof at));
    struct pollfd wanted = {one, POLLIN, 0};
    SHOW(poll(&wanted, 1, 1000));
    size = sizeof from;
    SHOW(recvfrom(one, bytes, 3, MSG_TRUNC, (struct sockaddr *)&from, &size));
    say("%s\n", bytes);
    SHOW(connect(two, (struct sockaddr *)&at, sizeof at));
    SHOW(send(two, "", 0, 0));
    SHOW(recv(one, bytes, 16, 0));
    SHOW(recv(one, bytes, 16, MSG_DONTWAIT));
}
