// kind: shutdown by another thread wakes read of a connection
#define PEER
#include "odd.h"

static int fd;

static void *end_it(void *argument) {
    usleep(100000);
    MUST(shutdown(fd, SHUT_RDWR) == 0);
    return argument;
}

static void odd(void) {
    char byte;
    pthread_t thread;
    fd = taken();
    start(&thread, end_it, NULL);
    SHOW(read(fd, &byte, 1));
    pthread_join(thread, NULL);
    close(fd);
}

static void peer(void) {
    int own = dial();
    drain(own);
}
