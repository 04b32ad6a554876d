// kind: pthread_kill interrupts another thread's read, poll and sem_wait
#include "odd.h"

static int ends[2];
static pthread_t target;
static volatile int stage;

static void note_thread(int number) {
    say("handler in the target: %d\n", pthread_equal(pthread_self(), target));
}

static void *wait_thrice(void *argument) {
    char byte;
    sem_t never;
    sem_init(&never, 0, 0);
    struct pollfd wanted = {ends[0], POLLIN, 0};
    stage = 1;
    SHOW(read(ends[0], &byte, 1));
    stage = 2;
    SHOW(poll(&wanted, 1, -1));
    stage = 3;
    SHOW(sem_wait(&never));
    stage = 4;
    return argument;
}

static void odd(void) {
    MUST(pipe(ends) == 0);
    handle(SIGUSR1, note_thread, 0);
    start(&target, wait_thrice, NULL);
    for (int next = 1; next <= 3; next++) {
        while (stage < next) usleep(1000);
        usleep(50000);
        pthread_kill(target, SIGUSR1);
    }
    pthread_join(target, NULL);
    say("%d\n", stage);
}
