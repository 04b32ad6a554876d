// kind: a server that sends urgent data (MSG_OOB), and reads where none has come
#define PEER
#include "odd.h"

static void odd(void) {
    char bytes[8];
    int mark = -1, fd = taken();
    SHOW(recv(fd, bytes, 1, MSG_OOB));
    SHOW(recv(fd, bytes, 1, MSG_OOB | MSG_DONTWAIT));
    SHOW(ioctl(fd, SIOCATMARK, &mark));
    struct pollfd wanted = {fd, POLLPRI, 0};
    SHOW(poll(&wanted, 1, 20));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &(int){1}, sizeof(int)));
    SHOW(recv(fd, bytes, 1, MSG_OOB));
    put(fd, "+");
    SHOW(recv(fd, bytes, 3, MSG_WAITALL));
    close(fd);
}

static void peer(void) { answer_sign(dial(), "abc"); }
