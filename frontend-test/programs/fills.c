/*
 * A server that fills its disk in the way that a client names, one line for each way, and removes
 * the file again. Its arguments are a port and how many MiB it writes.
 */
#define _GNU_SOURCE
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

enum { PART = 1 << 16 };

static char bytes[PART];
static int parts;

/* Each way returns whether all was written. */

static int by_write(int file) {
    for (int at = 0; at < parts; at++)
        if (write(file, bytes, PART) != PART) return 0;
    return 1;
}

static int by_writev(int file) {
    struct iovec pieces[2] = {{bytes, PART / 4}, {bytes, PART - PART / 4}};
    for (int at = 0; at < parts; at++)
        if (writev(file, pieces, 2) != PART) return 0;
    return 1;
}

static int by_pwrite(int file) {
    for (int at = parts; at-- > 0;)
        if (pwrite(file, bytes, PART, (off_t)at * PART) != PART) return 0;
    return 1;
}

static int by_stream(int file) {
    FILE *stream = fdopen(dup(file), "w");
    if (!stream) return 0;
    for (int at = 0; at < parts; at++)
        if (fwrite(bytes, PART / 2, 2, stream) != 2 || fputs("a line\n", stream) < 0) break;
    return !ferror(stream) & !fclose(stream);
}

static int by_reserve(int file) { return !posix_fallocate(file, 0, (off_t)parts * PART); }

static int by_child(int file) {
    int status;
    pid_t child = fork();
    if (child == 0) _exit(!by_write(file));
    return waitpid(child, &status, 0) == child && status == 0;
}

/* SIGBUS ends a program that touches a page for which its disk has no room. */
static int by_mapping(int file) {
    size_t size = (size_t)parts * PART;
    if (ftruncate(file, size)) return 0;
    char *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) return 0;
    memset(mapped, 'x', size);
    return !munmap(mapped, size);
}

/* /dev/full is full on all replicas. */
static int by_device(int file) {
    int device = open("/dev/full", O_WRONLY);
    int none = write(device, bytes, 1) == -1 && errno == ENOSPC;
    close(device);
    return none;
}

static int by_nothing(int file) { return 1; }

static const struct {
    const char *name;
    int (*fill)(int file);
} WAYS[] = {{"write", by_write},     {"writev", by_writev}, {"pwrite", by_pwrite},
            {"stream", by_stream},   {"child", by_child},   {"reserve", by_reserve},
            {"device", by_device},   {"mapping", by_mapping}, {"nothing", by_nothing}};

static void *serve(void *argument) {
    FILE *client = fdopen((int)(long)argument, "r+");
    char way[64];
    while (fgets(way, sizeof way, client)) {
        way[strcspn(way, "\n")] = 0;
        for (unsigned at = 0; at < sizeof WAYS / sizeof *WAYS; at++) {
            if (strcmp(way, WAYS[at].name)) continue;
            int file = open("filled", O_RDWR | O_CREAT | O_TRUNC, 0600);
            int filled = file >= 0 && WAYS[at].fill(file);
            close(file);
            unlink("filled");
            fprintf(client, "%s by %s\n", filled ? "filled" : strerror(errno), way);
            fflush(client);
        }
    }
    fclose(client);
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    parts = atoi(arguments[2]) * 16;
    memset(bytes, 'x', sizeof bytes);
    return serve_each(listen_at(arguments[1]), serve);
}
