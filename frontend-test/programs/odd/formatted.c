// kind: dprintf, fdopen, fprintf, fgets and getline over a connection
#define PEER
#include "odd.h"

static void odd(void) {
    char line[64], *long_line = NULL;
    size_t size = 0;
    int fd = taken();
    SHOW(dprintf(fd, "%s %d\n", "number", 42));
    SHOW(vdprintf(fd, "plain\n", (va_list){0}));
    FILE *stream = fdopen(fd, "r+");
    MUST(stream);
    MUST(fgets(line, sizeof line, stream));
    say("%s", line);
    SHOW(getline(&long_line, &size, stream));
    SHOW(fprintf(stream, "%05d\n", 7));
    SHOW(fflush(stream));
    SHOW(fgetc(stream));
    SHOW(feof(stream) != 0);
    SHOW(fclose(stream));
    SHOW(close(fd));
}

static void peer(void) {
    char bytes[64] = "";
    int fd = dial();
    get(fd, bytes, 16);
    MUST(!strcmp(bytes, "number 42\nplain\n"));
    put(fd, "first line\nsecond\n");
    get(fd, bytes, 6);
    shutdown(fd, SHUT_WR);
    drain(fd);
}
