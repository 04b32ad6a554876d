// kind: flock and description locks between threads
#include "odd.h"
#include <sys/file.h>

static int one, two;
static volatile int stage;

static void *wait_for_it(void *argument) {
    stage = 1;
    MUST(flock(two, LOCK_EX) == 0);
    stage = 2;
    MUST(flock(two, LOCK_UN) == 0);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    one = open("lock", O_RDWR | O_CREAT, 0600);
    two = open("lock", O_RDWR);
    SHOW(flock(one, LOCK_EX));
    SHOW(flock(two, LOCK_EX | LOCK_NB));
    start(&thread, wait_for_it, NULL);
    while (!stage) usleep(1000);
    usleep(50000);
    say("stage %d\n", stage);
    SHOW(flock(one, LOCK_UN));
    pthread_join(thread, NULL);
    say("stage %d\n", stage);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    SHOW(fcntl(one, F_OFD_SETLK, &lock));
    SHOW(fcntl(two, F_OFD_SETLK, &lock));
    lock.l_type = F_UNLCK;
    SHOW(fcntl(one, F_OFD_SETLK, &lock));
    SHOW(unlink("lock"));
}
