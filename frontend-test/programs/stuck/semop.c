// call: semtimedop
// expect: in-kernel
// via: libc
#include "stuck.h"
#include <sys/ipc.h>
#include <sys/sem.h>

static void stick(void) {
    struct sembuf take = {0, -1, 0};
    int set = semget(IPC_PRIVATE, 1, 0600);
    MUST(set >= 0);
    MUST(semop(set, &take, 1) == 0);
}
