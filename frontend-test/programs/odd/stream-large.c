// kind: 8 MiB each way at once over one connection by two threads
#define PEER
#include "odd.h"

#define SIZE (8 << 20)

static void pour(int fd, int factor) {
    static __thread char bytes[65536];
    for (int at = 0; at < SIZE; at += sizeof bytes) {
        for (size_t k = 0; k < sizeof bytes; k++) bytes[k] = (at + k) * factor >> 4;
        for (size_t sent = 0; sent < sizeof bytes;) {
            ssize_t now = send(fd, bytes + sent, sizeof bytes - sent, MSG_NOSIGNAL);
            MUST(now > 0);
            sent += now;
        }
    }
}

static long check(int fd, int factor) {
    static __thread char bytes[65536];
    long wrong = 0;
    for (int at = 0; at < SIZE;) {
        ssize_t got = read(fd, bytes, sizeof bytes);
        MUST(got > 0);
        for (ssize_t k = 0; k < got; k++) wrong += bytes[k] != (char)((at + k) * factor >> 4);
        at += got;
    }
    return wrong;
}

static void *pour_threes(void *argument) {
    pour(*(int *)argument, 3);
    return argument;
}

static void *pour_fives(void *argument) {
    pour(*(int *)argument, 5);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    int fd = taken();
    start(&thread, pour_threes, &fd);
    SHOW(check(fd, 5));
    pthread_join(thread, NULL);
    SHOW(drain(fd));
}

static void peer(void) {
    pthread_t thread;
    int fd = dial();
    start(&thread, pour_fives, &fd);
    MUST(check(fd, 3) == 0);
    pthread_join(thread, NULL);
    close(fd);
}
