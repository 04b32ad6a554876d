// call: msgrcv
// expect: in-kernel
// via: libc
#include "stuck.h"
#include <sys/ipc.h>
#include <sys/msg.h>

static void stick(void) {
    struct { long kind; char text[8]; } message;
    int queue = msgget(IPC_PRIVATE, 0600);
    MUST(queue >= 0);
    MUST(msgrcv(queue, &message, sizeof message.text, 0, 0) >= 0);
}
