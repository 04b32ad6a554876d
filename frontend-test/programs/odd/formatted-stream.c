// kind: fdopen, fgets, fputs, fflush and fclose over a connection
#define PEER
#include "odd.h"

static void odd(void) {
    char line[64];
    FILE *stream = fdopen(taken(), "r+");
    MUST(stream && fgets(line, sizeof line, stream));
    say("%s", line);
    SHOW(fputs("answer\n", stream) >= 0);
    SHOW(fflush(stream));
    SHOW(fgetc(stream));
    SHOW(fclose(stream));
}

static void peer(void) {
    char bytes[8] = "";
    int fd = dial();
    put(fd, "question\n");
    get(fd, bytes, 7);
    MUST(!strcmp(bytes, "answer\n"));
    shutdown(fd, SHUT_WR);
    drain(fd);
}
