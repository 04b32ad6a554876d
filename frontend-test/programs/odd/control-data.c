// kind: recvmsg with room for control data: of a connection, and cut (MSG_CTRUNC) on a Unix pair
#define PEER
#include "odd.h"

static void receive(int fd, size_t room) {
    char byte, control[256];
    struct iovec part = {&byte, 1};
    struct sockaddr_in name;
    struct msghdr message = {.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &part,
                             .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
    SHOW(recvmsg(fd, &message, 0));
    say("control %d of %d, cut %d, name %d\n", (int)message.msg_controllen, (int)room,
        (message.msg_flags & MSG_CTRUNC) != 0, (int)message.msg_namelen);
    for (struct cmsghdr *at = CMSG_FIRSTHDR(&message); at; at = CMSG_NXTHDR(&message, at)) {
        say("level %d, type %d\n", at->cmsg_level, at->cmsg_type);
        if (at->cmsg_type == SCM_RIGHTS) close(*(int *)CMSG_DATA(at));
    }
}

static void pass(int fd) {
    char control[CMSG_SPACE(sizeof(int) * 2)] = "";
    struct iovec part = {"x", 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
                               .cmsg_len = CMSG_LEN(sizeof(int) * 2)};
    memcpy(CMSG_DATA(header), (int[]){0, 0}, sizeof(int) * 2);
    SHOW(sendmsg(fd, &message, 0));
}

static void odd(void) {
    int pair[2], fd = taken();
    receive(fd, 256);
    receive(fd, 0);
    SHOW(sendmsg(fd, &(struct msghdr){.msg_iovlen = 0}, 0));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    pass(pair[0]);
    receive(pair[1], 0);
    pass(pair[0]);
    receive(pair[1], CMSG_SPACE(sizeof(int)));
    SHOW(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)));
    SHOW(send(pair[0], "x", 1, 0));
    receive(pair[1], 256);
    close(fd);
}

static void peer(void) {
    int fd = dial();
    put(fd, "ab");
    drain(fd);
}
