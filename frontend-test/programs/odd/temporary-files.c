// kind: mkstemp, mkdtemp, tmpfile, memfd_create
#include "odd.h"

static void odd(void) {
    char file[] = "odd-XXXXXX", folder[] = "odd-XXXXXX", wrong[] = "odd";
    int fd = mkstemp(file);
    OK(fd);
    SHOW(strcmp(file, "odd-XXXXXX") != 0);
    SHOW(mkdtemp(folder) != NULL);
    SHOW(mkstemp(wrong));
    SHOW(unlink(file));
    SHOW(rmdir(folder));
    FILE *stream = tmpfile();
    MUST(stream);
    SHOW(fputs("temporary", stream) >= 0);
    rewind(stream);
    SHOW(fgetc(stream));
    SHOW(fclose(stream));
    fd = memfd_create("odd", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    OK(fd);
    SHOW(write(fd, "sealed", 6));
    SHOW(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    SHOW(write(fd, "x", 1));
}
