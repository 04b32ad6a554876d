/*
 * A server with an object of each kind that a process image must have in it: a deleted file that is
 * open, files at a position and with a lock, pipes, a socket pair and an eventfd with data in them,
 * shared memory of three kinds, threads in timed waits, a lowered limit. Each line advances all of
 * them, and the answer shows their state, so that a loss is seen in it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include "serve.h"

#define MUST(what)                                        \
    do {                                                  \
        if (!(what)) {                                    \
            perror(#what);                                \
            abort();                                      \
        }                                                 \
    } while (0)

static int deleted, positioned, locked, ends[2], pair[2], event, set, timer;
static unsigned long *anonymous, *sealed, *named;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static sem_t ticks;

static struct timespec in(clockid_t clock, long milliseconds) {
    struct timespec at;
    clock_gettime(clock, &at);
    at.tv_nsec += milliseconds * 1000000;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

/* Waits for what never comes, as long as it may. */
static void *wait_long(void *unused) {
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        struct timespec at = in(CLOCK_REALTIME, 300000);
        pthread_cond_timedwait(&never, &lock, &at);
    }
    return NULL;
}

/* Ticks, slowly enough that an idle server stays idle. */
static void *tick(void *unused) {
    (void)unused;
    for (;;) {
        struct timespec pause = {2, 0};
        nanosleep(&pause, NULL);
        sem_post(&ticks);
    }
    return NULL;
}

static unsigned long *shared(int fd) {
    int flags = fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags, fd, 0);
    MUST(memory != MAP_FAILED);
    return memory;
}

static void make(void) {
    pthread_t thread;
    deleted = open("deleted", O_RDWR | O_CREAT | O_TRUNC, 0600);
    MUST(deleted >= 0 && unlink("deleted") == 0);
    positioned = open("positioned", O_RDWR | O_CREAT | O_TRUNC, 0644);
    locked = open("locked", O_RDWR | O_CREAT | O_TRUNC, 0644);
    MUST(positioned >= 0 && flock(locked, LOCK_EX | LOCK_NB) == 0);
    MUST(pipe(ends) == 0 && write(ends[1], "abcdefgh", 8) == 8);
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[0], "0123456789", 10) == 10);
    MUST((event = eventfd(5, EFD_NONBLOCK)) >= 0);
    MUST((timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)) >= 0);
    MUST((set = epoll_create1(0)) >= 0);
    struct epoll_event interest = {EPOLLIN, {.u64 = 77}};
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, event, &interest) == 0);
    anonymous = shared(-1);
    int memory = memfd_create("memory", 0);
    MUST(memory >= 0 && ftruncate(memory, 4096) == 0);
    sealed = shared(memory);
    close(memory);
    memory = open("/dev/shm/objects", O_RDWR | O_CREAT | O_TRUNC, 0600);
    MUST(memory >= 0 && ftruncate(memory, 4096) == 0);
    named = shared(memory);
    close(memory);
    MUST(mkdir("/run/objects", 0755) == 0 || errno == EEXIST);
    struct rlimit files = {400, 400};
    MUST(setrlimit(RLIMIT_NOFILE, &files) == 0);
    MUST(sem_init(&ticks, 0, 0) == 0);
    MUST(pthread_create(&thread, NULL, wait_long, NULL) == 0);
    MUST(pthread_create(&thread, NULL, tick, NULL) == 0);
}

static int take(int fd, const char *line, char *answer, size_t size) {
    (void)fd, (void)line;
    static unsigned long count;
    char first, second, text[32], back[64] = "";
    unsigned long value;
    struct epoll_event ready;
    count++;
    int length = snprintf(text, sizeof text, "%lu\n", count);
    MUST(write(deleted, text, length) == length && write(positioned, text, length) == length);
    off_t end = lseek(deleted, 0, SEEK_END), at = lseek(positioned, 0, SEEK_CUR);
    MUST(pread(deleted, back, 2, 0) == 2);
    MUST(read(ends[0], &first, 1) == 1 && write(ends[1], &first, 1) == 1);
    MUST(read(pair[1], &second, 1) == 1 && write(pair[0], &second, 1) == 1);
    int waiting = epoll_wait(set, &ready, 1, 0);
    MUST(read(event, &value, 8) == 8);
    unsigned long more = value + 1;
    MUST(write(event, &more, 8) == 8);
    anonymous[0] += 1, sealed[0] += 2, named[0] += 3;
    struct stat status;
    int here = stat("/run/objects", &status) == 0 && stat("/dev/shm/objects", &status) == 0;
    int other = open("locked", O_RDWR);
    int free_lock = flock(other, LOCK_EX | LOCK_NB) == 0;
    close(other);
    int ticked = 0;
    while (sem_trywait(&ticks) == 0) ticked = 1;
    struct itimerspec once = {.it_value = {500, 0}}, left;
    if (count == 1) MUST(timerfd_settime(timer, 0, &once, NULL) == 0);
    MUST(timerfd_gettime(timer, &left) == 0);
    (void)ticked;
    return snprintf(answer, size,
                    "%lu %.1s %ld %ld %c %c %d %lu %lu %lu %lu %lu here %d lock %d timer %d\n",
                    count, back, (long)end, (long)at, first, second, waiting,
                    (unsigned long)ready.data.u64, value, anonymous[0], sealed[0], named[0], here,
                    free_lock, left.it_value.tv_sec > 0);
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    make();
    serve_lines(listen_at(arguments[1]), take);
}
