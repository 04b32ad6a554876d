// kind: /dev/urandom and /dev/random by read, pread and stdio, getentropy, getrandom
#include "odd.h"
#include <sys/random.h>

static void odd(void) {
    char a[16], b[16], many[257];
    int fd = open("/dev/urandom", O_RDONLY), folder = open("/dev", O_RDONLY | O_DIRECTORY);
    SHOW(read(fd, a, 16));
    SHOW(pread(fd, b, 16, 0));
    SHOW(memcmp(a, b, 16) != 0);
    SHOW(lseek(fd, 0, SEEK_SET));
    SHOW(write(fd, "x", 1));
    int other = openat(folder, "urandom", O_RDONLY);
    SHOW(read(other, b, 16));
    SHOW(memcmp(a, b, 16) != 0);
    FILE *stream = fopen("/dev/random", "rb");
    SHOW(fread(a, 1, 16, stream));
    SHOW(fclose(stream));
    SHOW(getentropy(a, 16));
    SHOW(getentropy(many, sizeof many));
    SHOW(getrandom(a, 16, GRND_RANDOM));
    SHOW(getrandom(a, 16, 0x800));
    struct pollfd wanted = {fd, POLLIN, 0};
    SHOW(poll(&wanted, 1, 0));
}
