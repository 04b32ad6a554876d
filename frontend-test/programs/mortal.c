/*
 * A server that ends on request: "abort" ends it by a signal, "exit" with status 3, and "fork" with
 * the status of a child that serves. It sends every other line back. It serves one connection at a
 * time without threads, so it ends at the same call on all replicas.
 */
#include <string.h>
#include <sys/wait.h>
#include "serve.h"

static int take(int fd, const char *line, char *answer, size_t size) {
    if (!strncmp(line, "abort", 5)) abort();
    if (!strncmp(line, "exit", 4)) exit(3);
    if (!strncmp(line, "fork", 4)) {
        char byte;
        pid_t child = fork();
        if (!child) _exit(read(fd, &byte, 1) < 0);
        int status = 0;
        waitpid(child, &status, 0);
        exit(WEXITSTATUS(status));
    }
    return snprintf(answer, size, "%s", line);
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    serve_lines(listen_at(arguments[1]), take);
}
