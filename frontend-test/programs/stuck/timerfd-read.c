// call: read
// expect: in-kernel
// via: libc
#include "stuck.h"
#include <sys/timerfd.h>

static void stick(void) {
    struct itimerspec hour = {.it_value = {3600, 0}};
    uint64_t times;
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    MUST(fd >= 0 && timerfd_settime(fd, 0, &hour, NULL) == 0);
    MUST(read(fd, &times, sizeof times) == sizeof times);
}
