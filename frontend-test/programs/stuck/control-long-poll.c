// call: -
// expect: none
// via: libc
// The answer waits for the next "stick" of another connection, like a long poll.
#include "stuck.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t news = PTHREAD_COND_INITIALIZER;
static int waiting;

static void stick(void) {
    pthread_mutex_lock(&lock);
    if (waiting) {
        waiting = 0;
        pthread_cond_broadcast(&news);
    } else {
        waiting = 1;
        while (waiting) pthread_cond_wait(&news, &lock);
    }
    pthread_mutex_unlock(&lock);
}
