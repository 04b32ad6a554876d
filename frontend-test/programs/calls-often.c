/*
 * A server that makes a call as often as each line says: "call N" reads the clock by a system call
 * of its own, "libc N" by libc's function; "lock N" takes and leaves a lock that no other thread
 * takes, and "many N" one that seven others take and leave as often. It answers "done".
 */
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include "serve.h"

#define THREADS 8

static pthread_mutex_t alone = PTHREAD_MUTEX_INITIALIZER, shared = PTHREAD_MUTEX_INITIALIZER;
static long count, held, bad;

static int by_call(struct timespec *now) {
    long result;
    __asm__ volatile("mov $228, %%eax\n\tsyscall"
                     : "=a"(result)
                     : "D"(CLOCK_MONOTONIC), "S"(now)
                     : "rcx", "r11", "memory");
    return result;
}

static void *take_shared(void *unused) {
    for (long time = 0; time < count / THREADS; time++) {
        pthread_mutex_lock(&shared);
        held++;
        pthread_mutex_unlock(&shared);
    }
    return unused;
}

static void share(void) {
    pthread_t threads[THREADS];
    held = 0;
    for (int at = 0; at < THREADS; at++) {
        bad |= pthread_create(&threads[at], NULL, take_shared, NULL);
    }
    for (int at = 0; at < THREADS; at++) bad |= pthread_join(threads[at], NULL);
    bad |= held != count / THREADS * THREADS;
}

static int take(int fd, const char *line, char *answer, size_t size) {
    (void)fd;
    struct timespec now;
    count = atol(line + 5);
    if (strncmp(line, "call", 4) == 0) {
        for (long time = 0; time < count; time++) bad |= by_call(&now);
    } else if (strncmp(line, "libc", 4) == 0) {
        for (long time = 0; time < count; time++) bad |= clock_gettime(CLOCK_MONOTONIC, &now);
    } else if (strncmp(line, "lock", 4) == 0) {
        for (long time = 0; time < count; time++) {
            pthread_mutex_lock(&alone);
            held++;
            pthread_mutex_unlock(&alone);
        }
    } else {
        share();
    }
    return snprintf(answer, size, bad ? "bad\n" : "done\n");
}

int main(int words, char **arguments) {
    if (words < 2) return 2;
    serve_lines(listen_at(arguments[1]), take);
}
