// kind: flock ends with EINTR by a signal from another thread, and restarts with SA_RESTART
#include "odd.h"
#include <sys/file.h>

static pthread_t waiter;
static int one, two;
static volatile int seen;

static void note(int number) { seen += number == SIGUSR1; }

static void *disturb(void *argument) {
    usleep(30000);
    MUST(pthread_kill(waiter, SIGUSR1) == 0);
    usleep(30000);
    MUST(flock(one, LOCK_UN) == 0);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    waiter = pthread_self();
    one = open("lock", O_RDWR | O_CREAT, 0600);
    two = open("lock", O_RDWR);
    for (int restart = 0; restart < 2; restart++) {
        handle(SIGUSR1, note, restart ? SA_RESTART : 0);
        MUST(flock(one, LOCK_EX) == 0);
        start(&thread, disturb, NULL);
        SHOW(flock(two, LOCK_EX));
        pthread_join(thread, NULL);
        say("handlers %d\n", seen);
        MUST(flock(two, LOCK_UN) == 0);
    }
    SHOW(unlink("lock"));
}
