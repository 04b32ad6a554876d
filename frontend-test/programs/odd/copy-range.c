// kind: copy_file_range, fallocate, posix_fadvise, readahead
#include "odd.h"

static void odd(void) {
    char bytes[8] = "";
    int from = open("from", O_RDWR | O_CREAT | O_TRUNC, 0600);
    int to = open("to", O_RDWR | O_CREAT | O_TRUNC, 0600);
    off_t at = 2;
    MUST(write(from, "0123456789", 10) == 10);
    SHOW(copy_file_range(from, &at, to, NULL, 4, 0));
    SHOW(pread(to, bytes, 8, 0));
    say("%s %d\n", bytes, (int)at);
    CODE(posix_fadvise(from, 0, 0, POSIX_FADV_SEQUENTIAL));
    CODE(posix_fadvise(listener, 0, 0, POSIX_FADV_SEQUENTIAL));
    CODE(posix_fallocate(to, 0, 5000));
    SHOW(lseek(to, 0, SEEK_END));
    SHOW(copy_file_range(1000, NULL, to, NULL, 1, 0));
    SHOW(unlink("from"));
    SHOW(unlink("to"));
}
