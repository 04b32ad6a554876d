// kind: a stdio stream locked by one thread and used by another
#include "odd.h"

static FILE *stream;
static volatile int stage;

static void *use(void *argument) {
    stage = 1;
    fputs("second\n", stream);
    stage = 2;
    return argument;
}

static void odd(void) {
    pthread_t thread;
    char *bytes;
    size_t size;
    stream = open_memstream(&bytes, &size);
    flockfile(stream);
    start(&thread, use, NULL);
    while (!stage) usleep(1000);
    usleep(20000);
    say("stage %d, try %d\n", stage, ftrylockfile(stream));
    funlockfile(stream);
    fputs("first\n", stream);
    funlockfile(stream);
    pthread_join(thread, NULL);
    fclose(stream);
    say("%s", bytes);
}
