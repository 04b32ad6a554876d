// kind: a descriptor passed over a socketpair
#include "odd.h"

static void odd(void) {
    int pair[2], ends[2], got = -1;
    char byte = 'x', control[CMSG_SPACE(sizeof(int))] = {0}, bytes[8] = "";
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
                             .msg_controllen = sizeof control};
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(ends) == 0);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &ends[0], sizeof(int));
    SHOW(sendmsg(pair[0], &message, 0));
    memset(control, 0, sizeof control);
    SHOW(recvmsg(pair[1], &message, 0));
    header = CMSG_FIRSTHDR(&message);
    if (header) memcpy(&got, CMSG_DATA(header), sizeof(int));
    say("another number %d\n", got >= 0 && got != ends[0]);
    SHOW(close(ends[0]));
    SHOW(write(ends[1], "through", 7));
    SHOW(read(got, bytes, 7));
    say("%.7s\n", bytes);
}
