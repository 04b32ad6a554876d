// kind: pidfd_open of a child in poll, waitid by P_PIDFD
#include "odd.h"

static void odd(void) {
    siginfo_t info;
    pid_t child = fork();
    if (child == 0) {
        usleep(50000);
        _exit(3);
    }
    int fd = syscall(SYS_pidfd_open, child, 0);
    OK(fd);
    struct pollfd wanted = {fd, POLLIN, 0};
    SHOW(poll(&wanted, 1, 5000));
    SHOW(waitid(3 /* P_PIDFD */, fd, &info, WEXITED));
    say("%d\n", info.si_status);
}
