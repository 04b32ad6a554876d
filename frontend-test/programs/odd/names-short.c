// kind: getsockname, getpeername and accept with short, long and wrong buffers
#define PEER
#include "odd.h"

static void odd(void) {
    unsigned char bytes[64];
    socklen_t size = 3;
    memset(bytes, 0x55, sizeof bytes);
    int fd = accept(listener, (struct sockaddr *)bytes, &size);
    say("accept %d: %u, %d %x\n", fd >= 0, size, bytes[0] + 256 * bytes[1], bytes[3]);
    for (socklen_t room = 0; room <= 20; room += 4) {
        memset(bytes, 0x55, sizeof bytes);
        size = room;
        SHOW(getsockname(fd, (struct sockaddr *)bytes, &size));
        say("%u of %u, then %x %x\n", size, room, bytes[room], bytes[room + 1]);
        memset(bytes, 0x55, sizeof bytes);
        size = room;
        SHOW(getpeername(fd, (struct sockaddr *)bytes, &size));
        say("%u of %u, then %x\n", size, room, bytes[room]);
    }
    size = -1;
    SHOW(getsockname(fd, (struct sockaddr *)bytes, &size));
    size = sizeof bytes;
    SHOW(getpeername(listener, (struct sockaddr *)bytes, &size));
    SHOW(getsockname(0, (struct sockaddr *)bytes, &size));
    SHOW(getsockname(900, (struct sockaddr *)bytes, &size));
    int fresh = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(getsockname(fresh, (struct sockaddr *)bytes, &size));
    say("%u, %d\n", size, ((struct sockaddr_in *)bytes)->sin_port);
    SHOW(getpeername(fresh, (struct sockaddr *)bytes, &size));
    close(fresh);
    close(fd);
}

static void peer(void) {
    drain(dial());
}
