// kind: pthread_cond_timedwait and mutex_lock do not end with EINTR; handlers run meanwhile
#include "odd.h"

static volatile sig_atomic_t seen;

static void count(int number) { seen++; }

static void odd(void) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t never = PTHREAD_COND_INITIALIZER;
    struct timespec limit;
    handle(SIGALRM, count, 0);
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec++;
    alarm_in(50);
    pthread_mutex_lock(&lock);
    int code;
    while ((code = pthread_cond_timedwait(&never, &lock, &limit)) == 0) {}
    say("%s, handled %d\n", strerrorname_np(code), (int)seen);
}
