// kind: epoll_wait without a limit ends with EINTR by alarm
#include "odd.h"

static void nothing(int number) {}

static void odd(void) {
    struct epoll_event event;
    int set = epoll_create1(0);
    handle(SIGALRM, nothing, SA_RESTART);
    alarm_in(50);
    SHOW(epoll_wait(set, &event, 1, -1));
}
