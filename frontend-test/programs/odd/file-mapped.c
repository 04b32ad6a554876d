// kind: a shared mapping of a file, msync, mremap, mprotect
#include "odd.h"

static void odd(void) {
    char bytes[8] = "";
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    SHOW(ftruncate(fd, 8192));
    char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(map != MAP_FAILED);
    memcpy(map, "mapped", 6);
    SHOW(msync(map, 4096, MS_SYNC));
    SHOW(pread(fd, bytes, 6, 0));
    say("%s\n", bytes);
    map = mremap(map, 4096, 8192, MREMAP_MAYMOVE);
    MUST(map != MAP_FAILED);
    map[5000] = 'y';
    SHOW(pread(fd, bytes, 1, 5000));
    say("%c\n", bytes[0]);
    SHOW(mprotect(map, 8192, PROT_READ));
    SHOW(read(open("/dev/zero", O_RDONLY), map, 1));
    SHOW(munmap(map, 8192));
    SHOW(unlink("file"));
}
