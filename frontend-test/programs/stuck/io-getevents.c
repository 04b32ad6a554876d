// call: io_getevents
// expect: in-kernel
// via: syscall
#include "stuck.h"
#include <linux/aio_abi.h>

static void stick(void) {
    aio_context_t context = 0;
    struct io_event event;
    MUST(syscall(SYS_io_setup, 4, &context) == 0);
    syscall(SYS_io_getevents, context, 1, 1, &event, NULL);
}
