// kind: a Unix listener in poll, with a client that connects before the call
#include "odd.h"

static void odd(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strcpy(at.sun_path, "odd.socket");
    int local = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    MUST(bind(local, (struct sockaddr *)&at, sizeof at) == 0 && listen(local, 4) == 0);
    struct pollfd wanted = {local, POLLIN, 0};
    SHOW(poll(&wanted, 1, 0));
    SHOW(connect(client, (struct sockaddr *)&at, sizeof at));
    SHOW(poll(&wanted, 1, 1000));
    int fd = accept(local, NULL, NULL);
    OK(fd);
    SHOW(write(client, "hello", 5));
    char bytes[8];
    SHOW(read(fd, bytes, 8));
    SHOW(close(client));
    SHOW(read(fd, bytes, 8));
    SHOW(unlink("odd.socket"));
}
