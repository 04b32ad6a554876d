// kind: a self-pipe written by SIGALRM's handler wakes poll
#include "odd.h"

static int ends[2];

static void wake(int number) { MUST(write(ends[1], "x", 1) == 1); }

static void odd(void) {
    char byte;
    MUST(pipe2(ends, O_NONBLOCK) == 0);
    handle(SIGALRM, wake, SA_RESTART);
    alarm_in(50);
    struct pollfd wanted = {ends[0], POLLIN, 0};
    int result;
    while ((result = poll(&wanted, 1, 5000)) < 0) say("poll: %s\n", strerrorname_np(errno));
    say("poll: %d %x\n", result, wanted.revents);
    SHOW(read(ends[0], &byte, 1));
}
