/*
 * A server that has much memory for a moment: `swell` takes 256 MiB and gives them back, and each
 * line is counted.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "serve.h"

#define BYTES (256UL << 20)

static unsigned long lines;

static int take(int fd, const char *line, char *answer, size_t size) {
    (void)fd;
    if (strncmp(line, "swell", 5) == 0) {
        char *memory =
            mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) exit(3);
        memset(memory, 1, BYTES);
        munmap(memory, BYTES);
    }
    return snprintf(answer, size, "%lu 0\n", ++lines);
}

int main(int count, char **arguments) {
    if (count < 2) return 2;
    serve_lines(listen_at(arguments[1]), take);
}
