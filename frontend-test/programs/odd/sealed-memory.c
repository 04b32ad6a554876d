// kind: memfd_create and its seals, and getentropy's sizes
#include "odd.h"

static void odd(void) {
    char bytes[512] = "";
    int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    MUST(fd >= 0);
    SHOW(ftruncate(fd, 100));
    SHOW(fcntl(fd, F_GET_SEALS));
    SHOW(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
    SHOW(ftruncate(fd, 50));
    SHOW(pwrite(fd, bytes, 10, 95));
    SHOW(pwrite(fd, bytes, 10, 100));
    SHOW(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL));
    SHOW(pwrite(fd, bytes, 1, 0));
    SHOW(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    SHOW(fcntl(fd, F_GET_SEALS));
    SHOW(memfd_create("x", 0x8000));
    int plain = memfd_create("plain", 0);
    SHOW(fcntl(plain, F_GET_SEALS));
    SHOW(fcntl(plain, F_ADD_SEALS, F_SEAL_SHRINK));
    SHOW(getentropy(bytes, 256));
    SHOW(getentropy(bytes, 257));
    SHOW(getentropy(bytes, 0));
}
