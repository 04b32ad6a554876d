/*
 * A server at several places: each argument is ADDRESS/PORT, or the path of a Unix socket. It
 * answers a line with the names of both ends of its connection; "interfaces" with the addresses of
 * the machine; zPING and a zero byte with PONG and the end, as clamd does; and "again" after
 * closing, unlinking and binding its Unix sockets again. It has one thread, which is in poll.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MUST(what) ((what) ? (void)0 : (perror(#what), exit(1)))
enum { ENDS_MAX = 64 };

typedef union {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    struct sockaddr_un local;
} place_t;

static const char *show(const place_t *place, socklen_t size) {
    static char texts[4][160];
    static int next;
    char *text = texts[next++ % 4], ip[INET6_ADDRSTRLEN];
    if (place->any.sa_family == AF_UNIX)
        sprintf(text, "unix:%.*s/%d", (int)(size - 2), place->local.sun_path, (int)size);
    else if (place->any.sa_family == AF_INET)
        sprintf(text, "%s/%d", inet_ntop(AF_INET, &place->four.sin_addr, ip, sizeof ip),
                ntohs(place->four.sin_port));
    else
        sprintf(text, "%s/%d", inet_ntop(AF_INET6, &place->six.sin6_addr, ip, sizeof ip),
                ntohs(place->six.sin6_port));
    return text;
}

static int listener(const char *word) {
    char ip[64];
    int port, on = 1;
    place_t place = {0};
    socklen_t size = sizeof place.local;
    if (*word == '/' || !strchr(word, '/')) {
        place.local.sun_family = AF_UNIX;
        strncpy(place.local.sun_path, word, sizeof place.local.sun_path - 1);
    } else {
        MUST(sscanf(word, "%63[^/]/%d", ip, &port) == 2);
        int six = strchr(ip, ':') != NULL;
        place.any.sa_family = six ? AF_INET6 : AF_INET;
        place.four.sin_port = htons(port);
        size = six ? sizeof place.six : sizeof place.four;
        void *at = six ? (void *)&place.six.sin6_addr : (void *)&place.four.sin_addr;
        MUST(inet_pton(place.any.sa_family, ip, at) == 1);
    }
    int fd = socket(place.any.sa_family, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, &place.any, size)) {
        printf("%s: %s\n", word, strerror(errno));
        fflush(stdout);
        close(fd);
        return -1;
    }
    MUST(listen(fd, 16) == 0);
    return fd;
}

static void answer(int fd, int from) {
    place_t own, peer, at;
    socklen_t own_size = sizeof own, peer_size = sizeof peer, at_size = sizeof at;
    struct ucred who = {0};
    socklen_t who_size = sizeof who;
    MUST(getsockname(fd, &own.any, &own_size) == 0 && getpeername(fd, &peer.any, &peer_size) == 0);
    MUST(getsockname(from, &at.any, &at_size) == 0);
    int asked = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &who_size);
    if (asked || own.any.sa_family != AF_UNIX) who.uid = 0;
    dprintf(fd, "listener %s local %s peer %s user %d\n", show(&at, at_size), show(&own, own_size),
            peer.any.sa_family == AF_UNIX ? show(&peer, peer_size) : "a client", (int)who.uid);
}

static void interfaces(int fd) {
    struct ifaddrs *all, *one;
    char text[1024] = "";
    MUST(getifaddrs(&all) == 0);
    for (one = all; one; one = one->ifa_next) {
        int family = one->ifa_addr ? one->ifa_addr->sa_family : 0;
        if (family != AF_INET && family != AF_INET6) continue;
        const place_t *place = (const place_t *)one->ifa_addr;
        sprintf(text + strlen(text), "%s=%s ", one->ifa_name, show(place, 0));
    }
    freeifaddrs(all);
    dprintf(fd, "%s\n", text);
}

int main(int count, char **words) {
    struct pollfd ends[ENDS_MAX];
    int from[ENDS_MAX], listeners = count - 1, all = listeners;
    for (int at = 0; at < listeners; at++)
        ends[at] = (struct pollfd){.fd = listener(words[at + 1]), .events = POLLIN};
    for (;;) {
        MUST(poll(ends, all, -1) > 0);
        for (int at = 0; at < all; at++) {
            if (!ends[at].revents) continue;
            if (at < listeners) {
                int fd = accept(ends[at].fd, NULL, NULL);
                MUST(fd >= 0 && all < ENDS_MAX);
                from[all] = at;
                ends[all++] = (struct pollfd){.fd = fd, .events = POLLIN};
                continue;
            }
            char line[256];
            ssize_t length = read(ends[at].fd, line, sizeof line - 1);
            int ended = length <= 0;
            line[ended ? 0 : length] = 0;
            if (!ended && !strcmp(line, "zPING")) {
                MUST(write(ends[at].fd, "PONG", 5) == 5);
                ended = 1;
            } else if (!ended && !strncmp(line, "again", 5)) {
                for (int old = 0; old < listeners; old++) {
                    if (*words[old + 1] != '/') continue;
                    MUST(listener(words[old + 1]) == -1 && errno != EACCES);
                    MUST(!close(ends[old].fd) && !unlink(words[old + 1]));
                    MUST((ends[old].fd = listener(words[old + 1])) >= 0);
                }
                dprintf(ends[at].fd, "again\n");
            } else if (!ended && !strncmp(line, "interfaces", 10)) {
                interfaces(ends[at].fd);
            } else if (!ended) {
                answer(ends[at].fd, ends[from[at]].fd);
            }
            if (ended) {
                close(ends[at].fd);
                ends[at] = ends[--all];
                from[at] = from[all];
                at--;
            }
        }
    }
}
