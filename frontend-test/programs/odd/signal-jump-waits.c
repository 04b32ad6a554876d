// kind: handlers leave a semaphore, a condition, a sleep, poll and accept by siglongjmp
#include "odd.h"
#include <setjmp.h>

static sigjmp_buf place;
static sem_t never;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int ends[2];

static void leave(int number) { siglongjmp(place, 1); }

static void wait_in(int which) {
    struct pollfd one = {ends[0], POLLIN, 0};
    if (which == 0) sem_wait(&never);
    if (which == 1) sleep(100000);
    if (which == 2) poll(&one, 1, -1);
    if (which == 3) accept(listener, NULL, NULL);
    if (which == 4) pause();
    if (which == 5) pthread_mutex_lock(&lock);
}

static void *serve(void *argument) {
    struct timespec at = in(CLOCK_REALTIME, 0);
    (void)argument;
    // The lock and the semaphore are usable, whoever has left a wait for them.
    say("trylock %d\n", pthread_mutex_trylock(&lock) == 0);
    SHOW(sem_timedwait(&never, &at));
    return NULL;
}

static void odd(void) {
    pthread_t thread;
    MUST(pipe(ends) == 0 && sem_init(&never, 0, 0) == 0);
    handle(SIGALRM, leave, 0);
    MUST(pthread_mutex_lock(&lock) == 0);
    for (volatile int round = 0; round < 3; round++) {
        for (volatile int which = 0; which < 6; which++) {
            if (sigsetjmp(place, 1) == 0) {
                alarm_in(20);
                wait_in(which);
                say("%d ended\n", which);
            } else {
                say("%d left\n", which);
            }
        }
    }
    MUST(pthread_mutex_unlock(&lock) == 0);
    start(&thread, serve, NULL);
    SHOW(pthread_join(thread, NULL));
}
