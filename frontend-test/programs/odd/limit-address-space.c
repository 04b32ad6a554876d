// kind: a limit of address space, and mappings below and beyond it
#include "odd.h"
#include <sys/resource.h>

static void odd(void) {
    struct rlimit limit = {300 << 20, 400 << 20};
    SHOW(setrlimit(RLIMIT_AS, &limit));
    memset(&limit, 0, sizeof limit);
    SHOW(getrlimit(RLIMIT_AS, &limit));
    say("%lu %lu\n", limit.rlim_cur, limit.rlim_max);
    SHOW(mmap(NULL, 20 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    SHOW(mmap(NULL, 4ul << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    limit = (struct rlimit){350 << 20, 400 << 20};
    SHOW(prlimit(0, RLIMIT_AS, &limit, &limit));
    say("%lu %lu\n", limit.rlim_cur, limit.rlim_max);
}
