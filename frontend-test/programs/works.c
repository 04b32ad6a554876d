/*
 * A server that needs many things of its host for each request: files, memory, threads, processes,
 * descriptors. It answers with the number of the request, or with the call that has failed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "serve.h"

#define TRY(call) do { if ((call) < 0) return #call; } while (0)

static char bytes[4096], again[4096];

static const char *use_file(void) {
    int file;
    TRY(file = open("works.data", O_RDWR | O_CREAT, 0600));
    TRY(pwrite(file, bytes, sizeof bytes, 0));
    TRY(pread(file, again, sizeof again, 0));
    TRY(read(file, again, sizeof again));
    TRY(fsync(file));
    TRY(close(file));
    return memcmp(bytes, again, sizeof bytes) ? "the contents" : NULL;
}

static void *idle(void *argument) { return argument; }

static const char *use_all(void) {
    int ends[2], status, unconnected;
    pthread_t thread;
    const char *failed = use_file();
    if (failed) return failed;
    void *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return "mmap";
    memset(memory, 1, 1 << 20);
    TRY(munmap(memory, 1 << 20));
    TRY(-pthread_create(&thread, NULL, idle, NULL));
    TRY(-pthread_join(thread, NULL));
    TRY(pipe(ends));
    TRY(unconnected = socket(AF_INET, SOCK_STREAM, 0));
    TRY(close(unconnected));
    pid_t child;
    TRY(child = fork());
    if (!child) _exit(use_file() != NULL);
    TRY(waitpid(child, &status, 0));
    TRY(close(ends[0]));
    TRY(close(ends[1]));
    return status ? "the child" : NULL;
}

static int take(int fd, const char *line, char *answer, size_t size) {
    static int count;
    (void)fd, (void)line;
    memset(bytes, 'a' + count % 26, sizeof bytes);
    const char *failed = use_all();
    if (failed) return snprintf(answer, size, "failed: %s: %s\n", failed, strerror(errno));
    return snprintf(answer, size, "%d\n", ++count);
}

int main(int count, char **arguments) {
    int ends[2];
    if (count != 2 || pipe(ends)) return 2;
    /* A child that waits for the end of this process. */
    if (!fork()) {
        close(ends[1]);
        while (read(ends[0], again, 1) > 0) {}
        _exit(0);
    }
    serve_lines(listen_at(arguments[1]), take);
}
