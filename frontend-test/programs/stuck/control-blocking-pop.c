// call: -
// expect: none
// via: libc
// Waits as Redis does for BLPOP with a limit of 5 s on an empty list.
#include "stuck.h"

static void stick(void) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t pushed = PTHREAD_COND_INITIALIZER;
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 5;
    pthread_mutex_lock(&lock);
    while (pthread_cond_timedwait(&pushed, &lock, &limit) != ETIMEDOUT) {}
    pthread_mutex_unlock(&lock);
}
