// kind: files: append, offsets shared by dup, O_TMPFILE, holes, truncation, links
#include "odd.h"

static void odd(void) {
    char bytes[16] = "";
    struct stat seen;
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0640), copy = dup(fd);
    SHOW(write(fd, "0123456789", 10));
    SHOW(lseek(copy, 4, SEEK_SET));
    SHOW(read(fd, bytes, 3));
    say("%s\n", bytes);
    SHOW(pwrite(fd, "x", 1, 100));
    SHOW(fstat(fd, &seen));
    say("%ld %o\n", (long)seen.st_size, seen.st_mode & 0777);
    SHOW(ftruncate(fd, 5));
    SHOW(lseek(fd, 0, SEEK_END));
    SHOW(link("file", "other"));
    SHOW(rename("other", "third"));
    SHOW(stat("third", &seen));
    say("%d\n", (int)seen.st_nlink);
    SHOW(symlink("third", "soft"));
    SHOW(readlink("soft", bytes, sizeof bytes));
    SHOW(open("soft", O_RDONLY | O_NOFOLLOW));
    SHOW(open("file", O_CREAT | O_EXCL, 0600));
    SHOW(unlink("soft"));
    SHOW(unlink("third"));
    SHOW(unlink("file"));
    SHOW(fstat(fd, &seen));
    say("%d\n", (int)seen.st_nlink);
    SHOW(access("file", F_OK));
}
