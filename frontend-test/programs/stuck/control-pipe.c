// call: -
// expect: none
// via: libc
// Another thread writes to the pipe after 3 s.
#include "stuck.h"

static int ends[2];

static void *feed(void *argument) {
    be_another();
    sleep(3);
    MUST(write(ends[1], "x", 1) == 1);
    return argument;
}

static void stick(void) {
    char byte;
    pthread_t thread;
    MUST(pipe(ends) == 0);
    MUST(pthread_create(&thread, NULL, feed, NULL) == 0);
    MUST(read(ends[0], &byte, 1) == 1);
    pthread_join(thread, NULL);
}
