// kind: sendmsg, MSG_MORE, sendmmsg, recvmmsg and recvfrom over a connection
#define PEER
#include "odd.h"

static void odd(void) {
    char a[4], b[4];
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    int fd = taken();
    struct iovec parts[] = {{"ab", 2}, {"cd", 2}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    SHOW(sendmsg(fd, &message, MSG_NOSIGNAL));
    SHOW(send(fd, "ef", 2, MSG_MORE | MSG_NOSIGNAL));
    SHOW(send(fd, "gh", 2, MSG_NOSIGNAL));
    struct mmsghdr two[] = {{.msg_hdr = {.msg_iov = parts, .msg_iovlen = 1}},
                            {.msg_hdr = {.msg_iov = parts + 1, .msg_iovlen = 1}}};
    SHOW(sendmmsg(fd, two, 2, 0));
    say("%u %u\n", two[0].msg_len, two[1].msg_len);
    while (recv(fd, a, 4, MSG_PEEK) < 4) usleep(1000);
    SHOW(recvfrom(fd, a, 2, 0, (struct sockaddr *)&from, &size));
    say("size of the address %d\n", (int)size);
    struct iovec in[] = {{a, 1}, {b, 1}};
    struct mmsghdr got[] = {{.msg_hdr = {.msg_iov = in, .msg_iovlen = 1}},
                            {.msg_hdr = {.msg_iov = in + 1, .msg_iovlen = 1}}};
    SHOW(recvmmsg(fd, got, 2, MSG_DONTWAIT, NULL));
    SHOW(sendto(fd, "!", 1, MSG_NOSIGNAL, (struct sockaddr *)&from, sizeof from));
    close(fd);
}

static void peer(void) {
    char bytes[12];
    int fd = dial();
    get(fd, bytes, 12);
    put(fd, "1234");
    drain(fd);
}
