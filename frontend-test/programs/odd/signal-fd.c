// kind: signalfd in poll and read
#include "odd.h"
#include <sys/signalfd.h>

static void *send_one(void *argument) {
    usleep(50000);
    kill(getpid(), SIGUSR1);
    return argument;
}

static void odd(void) {
    sigset_t set;
    struct signalfd_siginfo seen;
    pthread_t thread;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_NONBLOCK);
    struct pollfd wanted = {fd, POLLIN, 0};
    SHOW(read(fd, &seen, sizeof seen));
    start(&thread, send_one, NULL);
    SHOW(poll(&wanted, 1, 5000));
    SHOW(read(fd, &seen, sizeof seen));
    say("%u\n", seen.ssi_signo);
    pthread_join(thread, NULL);
}
