// kind: fsync, fdatasync and sync_file_range of bad descriptors, pipes and sockets
#include "odd.h"

static void odd(void) {
    int ends[2], fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    MUST(fd >= 0 && pipe(ends) == 0);
    SHOW(fsync(-1));
    SHOW(fsync(1000));
    SHOW(fdatasync(1000));
    SHOW(fsync(ends[0]));
    SHOW(fsync(listener));
    SHOW(fdatasync(listener));
    SHOW(fsync(fd));
    SHOW(fdatasync(fd));
    SHOW(sync_file_range(1000, 0, 0, 0));
    SHOW(close(fd));
    SHOW(fsync(fd));
    SHOW(unlink("file"));
}
