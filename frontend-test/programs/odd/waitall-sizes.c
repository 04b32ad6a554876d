// kind: MSG_WAITALL with sizes from 1 B to 1 MiB, pieces in any order
#define PEER
#include "odd.h"

static const int sizes[] = {1, 2, 100, 4096, 65536, 300000, 1048576, 7};

static void odd(void) {
    static char bytes[1048576];
    int fd = taken();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        long got = recv(fd, bytes, sizes[i], MSG_WAITALL), wrong = 0;
        for (long k = 0; k < got; k++) wrong += bytes[k] != (char)(i + k);
        say("asked %d, got %ld, wrong %ld\n", sizes[i], got, wrong);
    }
    SHOW(recv(fd, bytes, 10, MSG_WAITALL));
    SHOW(recv(fd, bytes, 10, MSG_WAITALL));
}

static void peer(void) {
    static char bytes[1048576];
    int fd = dial();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int k = 0; k < sizes[i]; k++) bytes[k] = i + k;
        int first = sizes[i] / 3;
        if (first > 0) MUST(send(fd, bytes, first, MSG_NOSIGNAL) > 0);
        usleep(5000);
        for (int k = first; k < sizes[i];) {
            long sent = send(fd, bytes + k, sizes[i] - k, MSG_NOSIGNAL);
            MUST(sent > 0);
            k += sent;
        }
    }
    put(fd, "short");
    close(fd);
}
