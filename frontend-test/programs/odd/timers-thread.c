// kind: timer_create with SIGEV_THREAD
#include "odd.h"

static sem_t fired;

static void by_thread(union sigval value) { sem_post(&fired); }

static void odd(void) {
    timer_t timer;
    struct itimerspec once = {.it_value = {0, 30000000}};
    struct sigevent threaded = {.sigev_notify = SIGEV_THREAD,
                                .sigev_notify_function = by_thread};
    sem_init(&fired, 0, 0);
    SHOW(timer_create(CLOCK_REALTIME, &threaded, &timer));
    SHOW(timer_settime(timer, 0, &once, NULL));
    SHOW(sem_wait(&fired));
    SHOW(timer_delete(timer));
}
