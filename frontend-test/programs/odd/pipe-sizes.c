// kind: F_SETPIPE_SZ, packets of O_DIRECT, PIPE_BUF, and a full pipe that a thread empties
#include "odd.h"

static int ends[2];

static void *empty(void *argument) {
    static char bytes[4096];
    usleep(20000);
    for (int left = 8192; left > 0;) left -= read(ends[0], bytes, sizeof bytes);
    return argument;
}

static void odd(void) {
    static char bytes[8192];
    pthread_t thread;
    MUST(pipe2(ends, O_DIRECT) == 0);
    SHOW(write(ends[1], "one", 3));
    SHOW(write(ends[1], "second", 6));
    SHOW(read(ends[0], bytes, 2));
    SHOW(read(ends[0], bytes, sizeof bytes));
    close(ends[0]), close(ends[1]);
    MUST(pipe(ends) == 0);
    SHOW(fcntl(ends[1], F_SETPIPE_SZ, 4096));
    SHOW(fcntl(ends[0], F_GETPIPE_SZ));
    SHOW(fcntl(ends[0], F_SETPIPE_SZ, 0));
    SHOW(fpathconf(ends[0], _PC_PIPE_BUF));
    SHOW(fcntl(ends[1], F_SETFL, O_NONBLOCK));
    SHOW(write(ends[1], bytes, 8192));
    SHOW(write(ends[1], bytes, 1));
    struct pollfd wanted = {ends[1], POLLOUT, 0};
    SHOW(poll(&wanted, 1, 20));
    SHOW(fcntl(ends[1], F_SETFL, 0));
    start(&thread, empty, NULL);
    SHOW(write(ends[1], bytes, 4096));
    pthread_join(thread, NULL);
    SHOW(fcntl(ends[1], F_SETFL, O_NONBLOCK));
    SHOW(write(ends[1], bytes, 4096));
    SHOW(fcntl(ends[1], F_SETPIPE_SZ, 8192));
    SHOW(write(ends[1], bytes, 4096));
    SHOW(fcntl(ends[1], F_SETPIPE_SZ, 4096));
}
