/*
 * A server whose threads deadlock on request: "lock" has its only thread and a new one wait for
 * each other's mutex, and "join" has three threads wait for each other's end in a circle (libc
 * refuses a circle of two). It sends every other line back.
 */
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include "serve.h"

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER, second = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t both;
static pthread_t circle[3];

static void *lock_crosswise(void *unused) {
    (void)unused;
    pthread_mutex_lock(&second);
    pthread_barrier_wait(&both);
    pthread_mutex_lock(&first);
    return NULL;
}

static void *join_next(void *at) {
    pthread_join(circle[(intptr_t)at], NULL);
    return NULL;
}

static void deadlock(int by_lock) {
    pthread_t thread;
    if (by_lock) {
        pthread_barrier_init(&both, NULL, 2);
        pthread_create(&thread, NULL, lock_crosswise, NULL);
        pthread_mutex_lock(&first);
        pthread_barrier_wait(&both);
        pthread_mutex_lock(&second);
    } else {
        circle[0] = pthread_self();
        pthread_create(&circle[1], NULL, join_next, (void *)0);
        pthread_create(&circle[2], NULL, join_next, (void *)1);
        pthread_join(circle[2], NULL);
    }
}

static int take(int fd, const char *line, char *answer, size_t size) {
    (void)fd;
    if (!strncmp(line, "lock", 4)) deadlock(1);
    if (!strncmp(line, "join", 4)) deadlock(0);
    return snprintf(answer, size, "%s", line);
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    serve_lines(listen_at(arguments[1]), take);
}
