// The server of racy.c for OpenMP: answers depend on how the threads of its teams interleave.
#include <arpa/inet.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROUNDS 300
#define TEAM 3

static omp_lock_t lock;
static unsigned long counter, added;
static volatile unsigned long plain;

static unsigned long add(void) {
    omp_set_lock(&lock);
    unsigned long now = ++counter;
    omp_unset_lock(&lock);
    return now;
}

static void *serve(void *argument) {
    int descriptor = (int)(long)argument;
    FILE *in = fdopen(descriptor, "r");
    char line[256], answer[512];
    while (in && fgets(line, sizeof line, in)) {
        unsigned long first = add(), last = 0;
        line[strcspn(line, "\n")] = 0;
        #pragma omp parallel for num_threads(TEAM) schedule(dynamic, 1)
        for (int round = 1; round < ROUNDS - 1; round++) {
            // A race on purpose: an addition of another thread may be lost.
            unsigned long before = plain;
            #pragma omp atomic
            added++;
            add();
            plain = before + 1;
        }
        last = add();
        snprintf(answer, sizeof answer, "%s moved %lu to %lu\n", line, last - first,
                 last + plain + added);
        if (send(descriptor, answer, strlen(answer), MSG_NOSIGNAL) < 0) break;
    }
    if (in) fclose(in);
    return NULL;
}

int main(int count, char **words) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(words[count - 1]))};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    omp_init_lock(&lock);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 64)) return 1;
    for (;;) {
        long descriptor = accept(listener, NULL, NULL);
        pthread_t thread;
        if (descriptor >= 0 && !pthread_create(&thread, NULL, serve, (void *)descriptor))
            pthread_detach(thread);
    }
}
