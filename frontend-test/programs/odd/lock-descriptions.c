// kind: F_OFD_SETLKW between threads, and F_SETLK against a child's lock
#include "odd.h"

static int one, two;
static struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

static void *wait_for_it(void *argument) {
    MUST(fcntl(two, F_OFD_SETLKW, &lock) == 0);
    return argument;
}

static void odd(void) {
    int status;
    pthread_t thread;
    struct flock unlock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    one = open("lock", O_RDWR | O_CREAT, 0600);
    two = open("lock", O_RDWR);
    SHOW(fcntl(one, F_OFD_SETLK, &lock));
    SHOW(fcntl(two, F_OFD_SETLK, &lock));
    pid_t child = fork();
    if (child == 0) _exit(fcntl(two, F_SETLK, &lock) == 0);
    SHOW(waitpid(child, &status, 0) == child);
    say("child's lock taken %d\n", WEXITSTATUS(status));
    start(&thread, wait_for_it, NULL);
    usleep(50000);
    MUST(fcntl(one, F_OFD_SETLK, &unlock) == 0);
    pthread_join(thread, NULL);
    SHOW(unlink("lock"));
}
