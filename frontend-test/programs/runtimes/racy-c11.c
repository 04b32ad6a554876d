// The server of racy.c for C11's threads and atomics: answers depend on how they interleave.
#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <threads.h>
#include <unistd.h>

#define ROUNDS 300

static mtx_t lock;
static unsigned long counter;
static volatile unsigned long plain;
static atomic_ulong added;

static unsigned long add(void) {
    mtx_lock(&lock);
    unsigned long now = ++counter;
    mtx_unlock(&lock);
    return now;
}

static int serve(void *argument) {
    int descriptor = (int)(long)argument;
    FILE *in = fdopen(descriptor, "r");
    char line[256], answer[512];
    while (in && fgets(line, sizeof line, in)) {
        unsigned long first = add(), last = first;
        line[strcspn(line, "\n")] = 0;
        for (int round = 1; round < ROUNDS; round++) {
            // A race on purpose: an addition of another thread may be lost.
            unsigned long before = plain;
            atomic_fetch_add(&added, 1);
            thrd_yield();
            plain = before + 1;
            last = add();
        }
        snprintf(answer, sizeof answer, "%s moved %lu to %lu\n", line, last - first,
                 last + plain + atomic_load(&added));
        if (send(descriptor, answer, strlen(answer), MSG_NOSIGNAL) < 0) break;
    }
    if (in) fclose(in);
    return 0;
}

int main(int count, char **words) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(words[count - 1]))};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    mtx_init(&lock, mtx_plain);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 64)) return 1;
    for (;;) {
        long descriptor = accept(listener, NULL, NULL);
        thrd_t thread;
        if (descriptor >= 0 && thrd_create(&thread, serve, (void *)descriptor) == thrd_success)
            thrd_detach(thread);
    }
}
