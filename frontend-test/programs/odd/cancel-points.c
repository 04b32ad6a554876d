// kind: pthread_cancel of threads in read, poll, sem_wait, cond_wait, nanosleep, accept, join
#include "odd.h"

static int ends[2];
static sem_t never;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_t sleeper;
static volatile int inside;

static void cleaned(void *argument) { say("cleaned %s\n", (char *)argument); }

static void unlock(void *argument) {
    say("unlock\n");
    pthread_mutex_unlock(argument);
}

static void *sleep_long(void *argument) {
    sleep(100000);
    return argument;
}

static void *wait_in(void *argument) {
    static char *names[] = {"read", "poll", "sem", "cond", "sleep", "accept", "join", "pause"};
    long which = (intptr_t)argument;
    char byte;
    pthread_cleanup_push(cleaned, names[which]);
    inside = 1;
    if (which == 0) read(ends[0], &byte, 1);
    if (which == 1) poll(&(struct pollfd){ends[0], POLLIN, 0}, 1, -1);
    if (which == 2) sem_wait(&never);
    if (which == 3) {
        pthread_mutex_lock(&lock);
        pthread_cleanup_push(unlock, &lock);
        pthread_cond_wait(&changed, &lock);
        pthread_cleanup_pop(1);
    }
    if (which == 4) sleep_long(NULL);
    if (which == 5) accept(listener, NULL, NULL);
    if (which == 6) pthread_join(sleeper, NULL);
    if (which == 7) pause();
    pthread_cleanup_pop(1);
    return NULL;
}

static void odd(void) {
    MUST(pipe(ends) == 0 && sem_init(&never, 0, 0) == 0);
    start(&sleeper, sleep_long, NULL);
    for (long which = 0; which < 8; which++) {
        pthread_t thread;
        void *result = NULL;
        inside = 0;
        start(&thread, wait_in, (void *)(intptr_t)which);
        while (!inside) usleep(1000);
        usleep(20000);
        MUST(pthread_cancel(thread) == 0);
        CODE(pthread_join(thread, &result));
        say("cancelled %d\n", result == PTHREAD_CANCELED);
    }
    CODE(pthread_mutex_trylock(&lock));
    pthread_cancel(sleeper);
    CODE(pthread_join(sleeper, NULL));
}
