// kind: descriptors get all numbers up to the limit
#include "odd.h"
#include <sys/resource.h>

static void odd(void) {
    struct rlimit limit;
    MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    /* The hosts of the two runs may have other limits. */
    limit.rlim_cur = 5000;
    SHOW(setrlimit(RLIMIT_NOFILE, &limit));
    /* Inherited descriptors differ. */
    SHOW(close_range(100, ~0U, 0));
    while (dup(0) < 100) {}
    int last = dup(0), gaps = 0, fd;
    while ((fd = dup(0)) >= 0) {
        gaps += fd - last - 1;
        last = fd;
    }
    SHOW(fd);
    SHOW(last);
    SHOW(gaps);
    SHOW(socket(AF_INET, SOCK_STREAM, 0));
    SHOW(dup2(0, 5000));
    SHOW(fcntl(0, F_DUPFD, 5000));
    SHOW(close(5000));
    SHOW(close_range(4000, 4999, 0));
    SHOW(dup(0));
    SHOW(fcntl(0, F_DUPFD, 4500));
}
