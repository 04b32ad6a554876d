// kind: the hard limit of open files, which only falls
#include "odd.h"
#include <sys/resource.h>

static void say_limit(void) {
    struct rlimit limit, again;
    SHOW(getrlimit(RLIMIT_NOFILE, &limit));
    SHOW(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &again));
    say("soft %ld hard %ld, by number %d\n", (long)limit.rlim_cur, (long)limit.rlim_max,
        memcmp(&limit, &again, sizeof limit) == 0);
}

static void odd(void) {
    struct rlimit limit = {500, 1000}, old;
    SHOW(setrlimit(RLIMIT_NOFILE, &limit));
    say_limit();
    limit = (struct rlimit){600, 500};
    SHOW(setrlimit(RLIMIT_NOFILE, &limit));
    limit = (struct rlimit){900, 900};
    SHOW(prlimit(getpid(), RLIMIT_NOFILE, &limit, &old));
    say("before: %ld %ld\n", (long)old.rlim_cur, (long)old.rlim_max);
    limit.rlim_cur = 800;
    SHOW(syscall(SYS_setrlimit, RLIMIT_NOFILE, &limit));
    say_limit();
    SHOW(sysconf(_SC_OPEN_MAX));
    SHOW(fcntl(0, F_DUPFD, 800));
    SHOW(getrlimit(99, &limit));
}
