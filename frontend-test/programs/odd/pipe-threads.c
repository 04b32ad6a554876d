// kind: a blocked pipe writer and reader in threads, larger than the pipe
#include "odd.h"

static int ends[2];

static void *pour(void *argument) {
    static char bytes[1 << 20];
    MUST(write(ends[1], bytes, sizeof bytes) == sizeof bytes);
    close(ends[1]);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    MUST(pipe(ends) == 0);
    start(&thread, pour, NULL);
    SHOW(drain(ends[0]));
    pthread_join(thread, NULL);
}
