// kind: pipes: EOF, EPIPE, SIGPIPE, atomic writes, flags, sizes
#include "odd.h"

static volatile sig_atomic_t pipes;

static void count(int number) { pipes++; }

static void odd(void) {
    int ends[2];
    static char bytes[70000];
    handle(SIGPIPE, count, 0);
    SHOW(pipe2(ends, O_NONBLOCK | O_CLOEXEC));
    SHOW(fcntl(ends[0], F_GETFD));
    SHOW(read(ends[0], bytes, 1));
    SHOW(write(ends[1], bytes, 65536));
    SHOW(write(ends[1], bytes, 1));
    SHOW(read(ends[0], bytes, 70000));
    SHOW(write(ends[1], bytes, 70000));
    SHOW(fcntl(ends[1], F_GETPIPE_SZ));
    SHOW(read(ends[1], bytes, 1));
    SHOW(write(ends[0], bytes, 1));
    SHOW(lseek(ends[0], 0, SEEK_SET));
    SHOW(close(ends[0]));
    SHOW(write(ends[1], bytes, 1));
    say("signals %d\n", (int)pipes);
    MUST(pipe(ends) == 0);
    SHOW(write(ends[1], "rest", 4));
    SHOW(close(ends[1]));
    SHOW(read(ends[0], bytes, 3));
    SHOW(read(ends[0], bytes, 3));
    SHOW(read(ends[0], bytes, 3));
    struct pollfd wanted = {ends[0], POLLIN, 0};
    SHOW(poll(&wanted, 1, 0));
    say("%x\n", wanted.revents);
    SHOW(pipe2(ends, 0x7000000));
}
