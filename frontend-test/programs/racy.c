/*
 * A server whose answers depend on how its threads interleave: the control of the experiment.
 *
 * Each connection has a thread. Each request is one line, for which the thread takes a lock ROUNDS
 * times and adds one to a counter that all threads share. The answer has the growth of the counter
 * during the request and its value, both of which depend on the other threads. The lock is taken
 * for one addition only, so two requests that overlap always mix.
 *
 * If the script admits requests, all replicas must give the same answers. If requests are admitted
 * when they arrive, a request meets others at different points of its rounds.
 */
#include "serve.h"

enum { ROUNDS = 3000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long counter;

static unsigned long add(void) {
    pthread_mutex_lock(&lock);
    unsigned long now = ++counter;
    pthread_mutex_unlock(&lock);
    return now;
}

static void *serve(void *argument) {
    int fd = (int)(long)argument;
    char line[256];
    size_t length = 0;
    while (length < sizeof line && read(fd, &line[length], 1) == 1) {
        if (line[length++] != '\n') continue;
        unsigned long first = add(), last = first;
        for (int round = 1; round < ROUNDS; round++) last = add();
        char answer[320];
        int size = snprintf(answer, sizeof answer, "%.*s moved %lu to %lu\n", (int)length - 1,
                            line, last - first, last);
        if (write(fd, answer, size) != size) break;
        length = 0;
    }
    close(fd);
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    return serve_each(listen_at(arguments[1]), serve);
}
