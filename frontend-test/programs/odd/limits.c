// kind: rlimits, nice, umask, sysconf, process groups as a program sees them
#include "odd.h"
#include <sys/resource.h>

static void odd(void) {
    struct rlimit limit;
    SHOW(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = 64;
    SHOW(setrlimit(RLIMIT_NOFILE, &limit));
    int last = -1;
    for (int fd; (fd = dup(0)) >= 0;) last = fd;
    say("last %d, %s\n", last, strerrorname_np(errno));
    SHOW(accept4(listener, NULL, NULL, SOCK_NONBLOCK));
    close(last);
    SHOW(socket(AF_INET, SOCK_STREAM, 0));
    SHOW(epoll_create1(0));
    SHOW(eventfd(0, 0));
    SHOW(umask(077) >= 0);
    SHOW(umask(022));
    SHOW(getppid() != getpid());
    SHOW(getpgid(0) > 0);
    SHOW(getsid(0) > 0);
    SHOW(sysconf(_SC_PAGESIZE));
    SHOW(sysconf(_SC_NPROCESSORS_ONLN) > 0);
    SHOW(getpriority(PRIO_PROCESS, 0) <= 19);
}
