// call: mq_timedsend
// expect: in-kernel
// via: libc
#include "stuck.h"
#include <mqueue.h>

static void stick(void) {
    char name[32];
    struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 8};
    snprintf(name, sizeof name, "/stuck-%d", (int)getpid());
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT, 0600, &attributes);
    MUST(queue != (mqd_t)-1 && mq_unlink(name) == 0);
    MUST(mq_send(queue, "one", 3, 0) == 0);
    MUST(mq_send(queue, "two", 3, 0) == 0);
}
