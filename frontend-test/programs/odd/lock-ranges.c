// kind: locks of ranges of open file descriptions: overlaps, F_OFD_GETLK, waiting for a part
#include "odd.h"

static int one, two;

static struct flock range(int kind, int from, int length) {
    return (struct flock){.l_type = kind, .l_whence = SEEK_SET, .l_start = from, .l_len = length};
}

static void *wait_for_it(void *argument) {
    struct flock part = range(F_WRLCK, 5, 10);
    MUST(fcntl(two, F_OFD_SETLKW, &part) == 0);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    one = open("lock", O_RDWR | O_CREAT, 0600);
    two = open("lock", O_RDWR);
    struct flock first = range(F_WRLCK, 0, 10), beside = range(F_WRLCK, 10, 10);
    struct flock over = range(F_RDLCK, 5, 10), all = range(F_UNLCK, 0, 0);
    SHOW(fcntl(one, F_OFD_SETLK, &first));
    SHOW(fcntl(two, F_OFD_SETLK, &beside));
    SHOW(fcntl(two, F_OFD_SETLK, &over));
    SHOW(fcntl(two, F_OFD_GETLK, &over));
    say("%d from %ld for %ld by %d\n", over.l_type, (long)over.l_start, (long)over.l_len,
        over.l_pid);
    over = range(77, 0, 0);
    SHOW(fcntl(two, F_OFD_SETLK, &over));
    start(&thread, wait_for_it, NULL);
    usleep(30000);
    SHOW(fcntl(one, F_OFD_SETLK, &all));
    pthread_join(thread, NULL);
    SHOW(fcntl(one, F_OFD_SETLK, &first));
    SHOW(unlink("lock"));
}
