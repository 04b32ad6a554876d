/*
 * A server that ends on request: "abort" ends it by a signal, "exit" with status 3, and "fork" with
 * the status of a child that serves. It sends every other line back. It serves one connection at a
 * time without threads, so it ends at the same call on all replicas.
 */
#include <string.h>
#include <sys/wait.h>
#include "serve.h"

int main(int count, char **arguments) {
    if (count != 2) return 2;
    int listener = listen_at(arguments[1]);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        char line[256];
        ssize_t length;
        while (fd >= 0 && (length = read(fd, line, sizeof line - 1)) > 0) {
            line[length] = 0;
            if (!strncmp(line, "abort", 5)) abort();
            if (!strncmp(line, "exit", 4)) exit(3);
            if (!strncmp(line, "fork", 4)) {
                pid_t child = fork();
                if (!child) _exit(read(fd, line, sizeof line) < 0);
                int status = 0;
                waitpid(child, &status, 0);
                exit(WEXITSTATUS(status));
            }
            if (write(fd, line, length) != length) break;
        }
        if (fd >= 0) close(fd);
    }
}
