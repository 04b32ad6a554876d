// kind: the first thread ends by pthread_exit, another ends the program
#include "odd.h"

static void *last(void *argument) {
    usleep(50000);
    say("the last thread\n");
    exit(0);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    start(&thread, last, NULL);
    pthread_exit(NULL);
}
