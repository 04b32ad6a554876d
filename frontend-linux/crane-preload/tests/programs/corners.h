/*
 * What the programs that try corners of calls have in common: what POSIX and Linux promise beside
 * the plain case. A probe ends the program with the line of what does not hold; all of them pass
 * natively, too.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition) do { if (!(condition)) fail(__LINE__, #condition); } while (0)

static void fail(int line, const char *what) {
    printf("line %d, errno %d: %s\n", line, errno, what);
    fflush(stdout);
    _exit(1);
}

static long long now(clockid_t clock) {
    struct timespec t;
    CHECK(!clock_gettime(clock, &t));
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static struct timespec in(clockid_t clock, long long nanoseconds) {
    long long end = now(clock) + nanoseconds;
    return (struct timespec){end / 1000000000, end % 1000000000};
}

static const struct timespec wrong = {1, 1000000000};
#define MS 1000000LL

static pthread_t begin(void *(*routine)(void *), void *argument) {
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, routine, argument));
    return thread;
}

static void *result_of(pthread_t thread) {
    void *result;
    CHECK(!pthread_join(thread, &result));
    return result;
}

struct probe {
    const char *name;
    void (*run)(void);
};

/* Runs the one probe that is asked for. */
static int run_probe(const char *name, const struct probe *probes, size_t count) {
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(probes[i].name, name)) continue;
        probes[i].run();
        printf("%s ok\n", name);
        return 0;
    }
    return 2;
}
