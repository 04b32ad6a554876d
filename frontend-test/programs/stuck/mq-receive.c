// call: mq_timedreceive
// expect: in-kernel
// via: libc
#include "stuck.h"
#include <mqueue.h>

static void stick(void) {
    char name[32], message[64];
    struct mq_attr attributes = {.mq_maxmsg = 2, .mq_msgsize = sizeof message};
    snprintf(name, sizeof name, "/stuck-%d", (int)getpid());
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT, 0600, &attributes);
    MUST(queue != (mqd_t)-1 && mq_unlink(name) == 0);
    MUST(mq_receive(queue, message, sizeof message, NULL) >= 0);
}
