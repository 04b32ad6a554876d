// kind: /proc/self: comm, status, fd, exe, environ
#include "odd.h"
#include <sys/prctl.h>

static void odd(void) {
    char text[4096] = "", path[64];
    int fd = open("/proc/self/comm", O_RDONLY);
    SHOW(read(fd, text, sizeof text) > 0);
    say("%s", text);
    SHOW(prctl(PR_SET_NAME, "renamed"));
    SHOW(pread(fd, text, sizeof text, 0));
    snprintf(path, sizeof path, "/proc/self/fd/%d", listener);
    SHOW(readlink(path, text, sizeof text) > 0);
    say("%.7s\n", text);
    snprintf(path, sizeof path, "/proc/%d/status", (int)getpid());
    SHOW(open(path, O_RDONLY) >= 0);
    SHOW(access("/proc/self/exe", X_OK));
    SHOW(access("/proc/self/task", R_OK));
}
