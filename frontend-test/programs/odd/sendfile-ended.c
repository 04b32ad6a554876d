// kind: sendfile and splice to a pipe without readers and to an ended connection: SIGPIPE, EPIPE
#define PEER
#include "odd.h"
#include <sys/sendfile.h>

static volatile int pipes;

static void on_pipe(int number) { (void)number, pipes++; }

static void odd(void) {
    char bytes[4096] = "text";
    int ends[2], fd = taken();
    int file = memfd_create("file", MFD_CLOEXEC);
    MUST(file >= 0 && write(file, bytes, sizeof bytes) == sizeof bytes);
    handle(SIGPIPE, on_pipe, 0);
    MUST(pipe(ends) == 0);
    close(ends[0]);
    off_t at = 0;
    SHOW(sendfile(ends[1], file, &at, 100));
    say("%d, at %d\n", pipes, (int)at);
    SHOW(splice(file, &at, ends[1], NULL, 100, 0));
    say("%d, at %d\n", pipes, (int)at);
    SHOW(shutdown(fd, SHUT_WR));
    SHOW(sendfile(fd, file, &at, 100));
    say("%d, at %d\n", pipes, (int)at);
    SHOW(writev(fd, &(struct iovec){bytes, 4}, 1));
    say("%d\n", pipes);
    SHOW(send(fd, bytes, 4, MSG_NOSIGNAL));
    say("%d\n", pipes);
    SHOW(sendfile(fd, file, &(off_t){-1}, 100));
    SHOW(sendfile(fd, fd, NULL, 100));
    SHOW(sendfile(fd, 900, NULL, 100));
    close(fd);
}

static void peer(void) {
    drain(dial());
}
