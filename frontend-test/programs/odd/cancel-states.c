// kind: pthread_cancel while disabled, by pthread_testcancel, and asynchronous
#include "odd.h"

static volatile int stage;

static void *resist(void *argument) {
    int old;
    CODE(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old));
    stage = 1;
    while (stage != 2) usleep(1000);
    usleep(1000);
    say("still here\n");
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
    pthread_testcancel();
    say("never\n");
    return argument;
}

static void *spin(void *argument) {
    int old;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
    stage = 3;
    for (;;) usleep(1000);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    void *result;
    start(&thread, resist, NULL);
    while (stage != 1) usleep(1000);
    CODE(pthread_cancel(thread));
    stage = 2;
    CODE(pthread_join(thread, &result));
    say("%d\n", result == PTHREAD_CANCELED);
    start(&thread, spin, NULL);
    while (stage != 3) usleep(1000);
    CODE(pthread_cancel(thread));
    CODE(pthread_join(thread, &result));
    say("%d\n", result == PTHREAD_CANCELED);
}
