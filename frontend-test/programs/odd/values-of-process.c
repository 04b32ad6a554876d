// kind: umask, parent, group, session, page size, processors, priority
#include "odd.h"
#include <sys/resource.h>

static void odd(void) {
    SHOW(umask(077) >= 0);
    SHOW(umask(022));
    SHOW(getppid() != getpid());
    SHOW(getpgid(0) == getpgrp());
    SHOW(getsid(0) >= 0);
    SHOW(sysconf(_SC_PAGESIZE));
    SHOW(sysconf(_SC_NPROCESSORS_ONLN) > 0);
    SHOW(getpriority(PRIO_PROCESS, 0) <= 19);
    SHOW(getpriority(99, 0));
}
