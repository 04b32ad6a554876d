// kind: timerfd in a blocking read
#include "odd.h"
#include <sys/timerfd.h>

static void odd(void) {
    uint64_t times = 0;
    struct itimerspec repeated = {{0, 10000000}, {0, 10000000}};
    int fd = timerfd_create(CLOCK_MONOTONIC, 0), sum = 0;
    SHOW(timerfd_settime(fd, 0, &repeated, NULL));
    while (sum < 5) {
        MUST(read(fd, &times, sizeof times) == sizeof times);
        sum += times;
    }
    say("five\n");
}
