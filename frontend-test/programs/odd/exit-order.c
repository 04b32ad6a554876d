// kind: atexit, on_exit, destructors and a thread's keys, in order
#include "odd.h"

static void first(void) { say("atexit first\n"); }
static void second(void) { say("atexit second\n"); }
static void with_status(int status, void *argument) {
    say("on_exit %d %s\n", status, (char *)argument);
}
static void key_gone(void *value) { say("key %s\n", (char *)value); }
__attribute__((constructor)) static void begins(void) { say("constructor\n"); }
__attribute__((destructor)) static void ends(void) { say("destructor\n"); }

static pthread_key_t key;

static void *use_key(void *argument) {
    pthread_setspecific(key, "thread");
    return argument;
}

static void odd(void) {
    pthread_t thread;
    pthread_key_create(&key, key_gone);
    start(&thread, use_key, NULL);
    pthread_join(thread, NULL);
    SHOW(atexit(first));
    SHOW(on_exit(with_status, "argument"));
    SHOW(atexit(second));
}
