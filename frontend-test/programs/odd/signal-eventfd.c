// kind: an eventfd written by SIGALRM's handler wakes poll and read
#include "odd.h"

static int fd;

static void wake(int number) { MUST(eventfd_write(fd, 3) == 0); }

static void odd(void) {
    eventfd_t value = 0;
    fd = eventfd(0, 0);
    handle(SIGALRM, wake, SA_RESTART);
    alarm_in(50);
    SHOW(eventfd_read(fd, &value));
    say("%d\n", (int)value);
    alarm_in(50);
    struct pollfd wanted = {fd, POLLIN, 0};
    SHOW(poll(&wanted, 1, 5000));
    SHOW(poll(&wanted, 1, 5000));
}
