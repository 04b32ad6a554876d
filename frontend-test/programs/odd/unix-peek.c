// kind: SO_PEEK_OFF, SIOCOUTQ, SIOCINQ and MSG_PEEK of a Unix pair, and SO_SNDBUF that fills
#include "odd.h"
#include <linux/sockios.h>

static void odd(void) {
    int pair[2], count = -1;
    char bytes[16] = "";
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    SHOW(setsockopt(pair[1], SOL_SOCKET, SO_PEEK_OFF, &(int){2}, sizeof(int)));
    SHOW(write(pair[0], "0123456789", 10));
    SHOW(ioctl(pair[1], SIOCINQ, &count));
    SHOW(count);
    SHOW(ioctl(pair[0], SIOCOUTQ, &count));
    SHOW(count > 0);
    SHOW(recv(pair[1], bytes, 3, MSG_PEEK));
    say("%.3s\n", bytes);
    SHOW(recv(pair[1], bytes, 3, MSG_PEEK));
    say("%.3s\n", bytes);
    SHOW(recv(pair[1], bytes, 4, 0));
    say("%.4s\n", bytes);
    SHOW(setsockopt(pair[1], SOL_SOCKET, SO_PEEK_OFF, &(int){-1}, sizeof(int)));
    SHOW(recv(pair[1], bytes, 16, MSG_PEEK));
    SHOW(recv(pair[1], bytes, 16, MSG_TRUNC));
    SHOW(recv(pair[1], bytes, 16, MSG_DONTWAIT));
    SHOW(send(pair[0], bytes, 0, 0));
    SHOW(recv(pair[1], bytes, 16, MSG_DONTWAIT));
    SHOW(shutdown(pair[0], SHUT_WR));
    SHOW(recv(pair[1], bytes, 16, 0));
    SHOW(send(pair[0], "x", 1, MSG_NOSIGNAL));
    SHOW(send(pair[1], "x", 1, MSG_NOSIGNAL));
    SHOW(recv(pair[0], bytes, 16, MSG_WAITALL | MSG_DONTWAIT));
    close(pair[1]);
    SHOW(recv(pair[0], bytes, 16, 0));
}
