// kind: accept without a free descriptor fails before it waits
#include "odd.h"
#include <sys/resource.h>

static void odd(void) {
    struct rlimit limit = {64, 64};
    MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while (dup(0) >= 0) {}
    SHOW(accept(listener, NULL, NULL));
}
