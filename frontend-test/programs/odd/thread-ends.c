// kind: threads: exit values, detach, join errors, timed joins, names, attributes
#include "odd.h"

static volatile int let_go;

static void *give(void *argument) {
    pthread_exit((void *)(intptr_t)((intptr_t)argument * 2));
}

static void *hold(void *argument) {
    while (!let_go) usleep(1000);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    void *result;
    char name[16];
    size_t stack;
    start(&thread, give, (void *)21);
    CODE(pthread_join(thread, &result));
    say("%d\n", (int)(intptr_t)result);
    start(&thread, hold, NULL);
    CODE(pthread_setname_np(thread, "held"));
    CODE(pthread_getname_np(thread, name, sizeof name));
    say("%s\n", name);
    CODE(pthread_setname_np(thread, "a name of too many bytes"));
    CODE(pthread_tryjoin_np(thread, NULL));
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    CODE(pthread_timedjoin_np(thread, NULL, &limit));
    CODE(pthread_join(pthread_self(), NULL));
    let_go = 1;
    CODE(pthread_join(thread, NULL));
    pthread_attr_init(&attributes);
    CODE(pthread_attr_setstacksize(&attributes, 100));
    CODE(pthread_attr_setstacksize(&attributes, 1 << 20));
    CODE(pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED));
    CODE(pthread_create(&thread, &attributes, hold, NULL));
    CODE(pthread_attr_getstacksize(&attributes, &stack));
    say("%zu\n", stack);
    usleep(20000);
}
