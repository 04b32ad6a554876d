/*
 * A server of length-prefixed messages: four bytes of length (big-endian), then as many bytes, each
 * part by one recv with MSG_WAITALL. It answers each message with its length and the FNV-1a sum of
 * its bytes (12 bytes, big-endian). A thread serves each connection.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <string.h>
#include "serve.h"

enum { LONGEST = 1 << 20 };

static uint64_t sum_of(const unsigned char *bytes, size_t size) {
    uint64_t sum = 0xcbf29ce484222325;
    for (size_t i = 0; i < size; i++) sum = (sum ^ bytes[i]) * 0x100000001b3;
    return sum;
}

static void *serve(void *argument) {
    int fd = (int)(intptr_t)argument;
    unsigned char *bytes = malloc(LONGEST), answer[12];
    uint32_t prefix;
    while (bytes && recv(fd, &prefix, sizeof prefix, MSG_WAITALL) == sizeof prefix) {
        uint32_t size = ntohl(prefix);
        /* One call must return the whole part: a short result ends the connection. */
        if (size > LONGEST || recv(fd, bytes, size, MSG_WAITALL) != (ssize_t)size) break;
        uint64_t sum = htobe64(sum_of(bytes, size));
        memcpy(answer, &prefix, 4);
        memcpy(answer + 4, &sum, 8);
        if (send(fd, answer, sizeof answer, MSG_NOSIGNAL) != sizeof answer) break;
    }
    free(bytes);
    close(fd);
    return NULL;
}

int main(int count, char **arguments) {
    int listener = listen_at(count > 1 ? arguments[1] : "7000"), one = 1;
    for (;;) {
        pthread_t thread;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd)) close(fd);
        else pthread_detach(thread);
    }
}
