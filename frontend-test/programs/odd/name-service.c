// kind: getaddrinfo of numbers and localhost, getnameinfo, getservbyname
#include "odd.h"
#include <netdb.h>

static void odd(void) {
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST};
    struct addrinfo *found = NULL;
    char host[64], service[16];
    SHOW(getaddrinfo("127.0.0.1", "80", &hints, &found));
    SHOW(getnameinfo(found->ai_addr, found->ai_addrlen, host, sizeof host, service,
                     sizeof service, NI_NUMERICHOST | NI_NUMERICSERV));
    say("%s %s\n", host, service);
    freeaddrinfo(found);
    SHOW(getaddrinfo("not a number", "80", &hints, &found) != 0);
    hints.ai_flags = 0;
    SHOW(getaddrinfo("localhost", NULL, &hints, &found));
    SHOW(found->ai_family == AF_INET);
    freeaddrinfo(found);
    hints.ai_flags = AI_PASSIVE;
    SHOW(getaddrinfo(NULL, "7000", &hints, &found));
    freeaddrinfo(found);
}
