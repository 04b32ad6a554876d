/*
 * A server that fills its /dev/shm or /run by order, and answers with what it finds: `fill PATH`
 * writes until there is no room, `sizes` asks for the sizes of both, `free PATH` removes the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include "serve.h"

static char block[64 << 10];

static int fill(const char *path, char *answer, size_t size) {
    int file = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    unsigned long bytes = 0;
    ssize_t count = 0;
    while (file >= 0 && (count = write(file, block, sizeof block)) > 0) bytes += count;
    int error = errno;
    if (file >= 0) close(file);
    return snprintf(answer, size, "%lu %s\n", bytes, strerror(error));
}

static int take(int fd, const char *line, char *answer, size_t size) {
    (void)fd;
    char path[200] = "";
    if (sscanf(line, "fill %199s", path) == 1) return fill(path, answer, size);
    if (sscanf(line, "free %199s", path) == 1) return snprintf(answer, size, "%d\n", unlink(path));
    struct statvfs shm, run;
    if (statvfs("/dev/shm", &shm) || statvfs("/run", &run)) exit(3);
    return snprintf(answer, size, "%lu %lu %lu %lu\n", shm.f_blocks * shm.f_frsize,
                    (unsigned long)shm.f_files, run.f_blocks * run.f_frsize,
                    (unsigned long)run.f_files);
}

int main(int count, char **arguments) {
    if (count < 2) return 2;
    memset(block, 1, sizeof block);
    serve_lines(listen_at(arguments[1]), take);
}
