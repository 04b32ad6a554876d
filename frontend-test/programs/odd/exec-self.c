// kind: a program executes itself with other arguments, descriptors kept and closed
#define OWN_LISTENER
#include "odd.h"

static void odd(void) {
    char kept_text[16], closed_text[16], port_text[16];
    if (getenv("ODD_KEPT")) {
        say("again: kept %d, closed %d\n", fcntl(atoi(getenv("ODD_KEPT")), F_GETFD),
            fcntl(atoi(getenv("ODD_CLOSED")), F_GETFD));
        listener = listen_at(AF_INET, port);
        say("listens\n");
        return;
    }
    int kept = open("/dev/null", O_RDONLY), closed = open("/dev/null", O_RDONLY | O_CLOEXEC);
    snprintf(kept_text, sizeof kept_text, "%d", kept);
    snprintf(closed_text, sizeof closed_text, "%d", closed);
    snprintf(port_text, sizeof port_text, "%d", port);
    setenv("ODD_KEPT", kept_text, 1);
    setenv("ODD_CLOSED", closed_text, 1);
    say("first\n");
    execl("/proc/self/exe", "again", port_text, NULL);
    say("exec: %s\n", strerrorname_np(errno));
}
