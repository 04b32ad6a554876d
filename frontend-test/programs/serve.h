/*
 * The frame of a small server: a listener at all addresses, and a thread for each connection.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Returns a socket that listens at a port, given as text, or ends the program. */
static int listen_at(const char *port) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(atoi(port)),
                                  .sin_addr = {htonl(INADDR_ANY)}};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128)) {
        perror("listen");
        exit(1);
    }
    return listener;
}

/* Serves one connection at a time, without threads. Calls `take` for each piece that is read, which
 * is one line if the client waits for each answer, and sends back the answer of the length that it
 * returns. */
__attribute__((unused)) static void serve_lines(
    int listener, int (*take)(int fd, const char *line, char *answer, size_t size)) {
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        char line[256], answer[300];
        ssize_t length;
        while (fd >= 0 && (length = read(fd, line, sizeof line - 1)) > 0) {
            line[length] = 0;
            int size = take(fd, line, answer, sizeof answer);
            if (write(fd, answer, size) != size) break;
        }
        if (fd >= 0) close(fd);
    }
}

/* Serves each connection by a thread of its own, which gets the connection's number. */
__attribute__((unused)) static int serve_each(int listener, void *(*serve)(void *)) {
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, (void *)(long)fd)) return 1;
        pthread_detach(thread);
    }
}
