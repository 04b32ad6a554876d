// kind: EMFILE of socket, epoll_create1, eventfd, pipe, open, socketpair
#include "odd.h"
#include <sys/resource.h>

static void odd(void) {
    int ends[2], last = -1;
    struct rlimit limit = {64, 64};
    SHOW(setrlimit(RLIMIT_NOFILE, &limit));
    for (int fd; (fd = dup(0)) >= 0;) last = fd;
    say("last %d\n", last);
    SHOW(socket(AF_INET, SOCK_STREAM, 0));
    SHOW(epoll_create1(0));
    SHOW(eventfd(0, 0));
    SHOW(pipe(ends));
    SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    SHOW(open("/dev/null", O_RDONLY));
    SHOW(fcntl(0, F_DUPFD, 64));
    SHOW(fcntl(0, F_DUPFD, 63));
    SHOW(dup2(0, 64));
    close(last);
    SHOW(pipe(ends));
    SHOW(eventfd(0, 0));
}
