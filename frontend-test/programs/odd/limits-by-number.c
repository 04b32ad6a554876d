// kind: prlimit of the own process and of none, and limits that bind: file size, core, stack
#include "odd.h"
#include <sys/resource.h>

static volatile int signals;

static void on_size(int number) { (void)number, signals++; }

static void odd(void) {
    struct rlimit limit = {0, 0}, wanted;
    SHOW(prlimit(0, RLIMIT_CORE, NULL, &limit));
    wanted = (struct rlimit){0, limit.rlim_max};
    SHOW(prlimit(getpid(), RLIMIT_CORE, &wanted, &limit));
    SHOW(prlimit(0, RLIMIT_CORE, NULL, &limit));
    SHOW(limit.rlim_cur == 0);
    SHOW(prlimit(0, 99, NULL, &limit));
    SHOW(prlimit(0x3fffffff, RLIMIT_CORE, NULL, &limit));
    wanted = (struct rlimit){10, 5};
    SHOW(prlimit(0, RLIMIT_FSIZE, &wanted, NULL));
    SHOW(getrlimit(RLIMIT_FSIZE, &limit));
    handle(SIGXFSZ, on_size, 0);
    wanted = (struct rlimit){100000, limit.rlim_max};
    SHOW(setrlimit(RLIMIT_FSIZE, &wanted));
    FILE *file = tmpfile();
    static char bytes[2000];
    MUST(file != NULL);
    SHOW(pwrite(fileno(file), bytes, 2000, 99000));
    SHOW(pwrite(fileno(file), bytes, 1, 100000));
    SHOW(signals);
    SHOW(ftruncate(fileno(file), 200000));
    SHOW(signals);
    SHOW(setrlimit(RLIMIT_FSIZE, &limit));
    SHOW(pwrite(fileno(file), bytes, 1, 100000));
    SHOW(getrlimit(RLIMIT_STACK, &limit));
    SHOW(limit.rlim_cur > 0);
}
