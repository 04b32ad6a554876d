// call: msgsnd
// expect: in-kernel
// via: libc
#include "stuck.h"
#include <sys/ipc.h>
#include <sys/msg.h>

static void stick(void) {
    static struct { long kind; char text[4096]; } message = {.kind = 1};
    int queue = msgget(IPC_PRIVATE, 0600);
    MUST(queue >= 0);
    while (msgsnd(queue, &message, sizeof message.text, IPC_NOWAIT) == 0) {}
    MUST(msgsnd(queue, &message, sizeof message.text, 0) == 0);
}
