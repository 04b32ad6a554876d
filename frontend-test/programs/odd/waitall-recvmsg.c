// kind: recvmsg with MSG_WAITALL over three parts
#define PEER
#include "odd.h"

static void odd(void) {
    char a[3], b[5], c[8] = "";
    int fd = taken();
    struct iovec parts[] = {{a, 3}, {b, 5}, {c, 7}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    SHOW(recvmsg(fd, &message, MSG_WAITALL));
    say("%.3s %.5s %.7s flags %x\n", a, b, c, message.msg_flags);
    close(fd);
}

static void peer(void) {
    int fd = dial();
    for (int i = 0; i < 15; i++) {
        put(fd, (char[]){'a' + i, 0});
        usleep(2000);
    }
    drain(fd);
}
