// kind: freopen, setvbuf, ungetc, fmemopen and a stream on a connection that is flushed by hand
#define PEER
#include "odd.h"

static void odd(void) {
    char line[64], memory[16] = "";
    int fd = taken();
    FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
    MUST(in != NULL && out != NULL);
    SHOW(setvbuf(out, NULL, _IOFBF, 8));
    SHOW(fputs("0123", out) >= 0);
    SHOW(fflush(out));
    SHOW(fgets(line, sizeof line, in) != NULL);
    say("%s", line);
    SHOW(ungetc('!', in));
    SHOW(fgetc(in));
    SHOW(fgetc(in));
    SHOW(setvbuf(out, NULL, _IONBF, 0));
    SHOW(fprintf(out, "%s-%d", "abcdefghij", 7));
    SHOW(fgets(line, sizeof line, in) == NULL);
    say("%d %d\n", feof(in) != 0, ferror(in) != 0);
    FILE *of_memory = fmemopen(memory, sizeof memory, "w");
    SHOW(fprintf(of_memory, "%04d", 42));
    SHOW(fclose(of_memory));
    say("%s\n", memory);
    FILE *file = tmpfile();
    MUST(file != NULL && fputs("one\ntwo\n", file) >= 0);
    rewind(file);
    SHOW(fscanf(file, "%63s", line));
    SHOW(ftell(file));
    SHOW(fseek(file, -4, SEEK_END));
    SHOW(fgets(line, sizeof line, file) != NULL);
    say("%s", line);
    SHOW(freopen("/dev/null", "r", file) == file);
    SHOW(fgetc(file));
    SHOW(fclose(file));
    SHOW(fclose(out));
    SHOW(fclose(in));
}

static void peer(void) {
    char bytes[16];
    int fd = dial();
    get(fd, bytes, 4);
    put(fd, "line\nx");
    get(fd, bytes, 12);
    shutdown(fd, SHUT_WR);
    drain(fd);
    close(fd);
}
