// kind: timer_create by signal and by thread
#include "odd.h"

static sem_t fired;

static void by_signal(int number) { sem_post(&fired); }

static void by_thread(union sigval value) {
    say("thread %d\n", value.sival_int);
    sem_post(&fired);
}

static void odd(void) {
    timer_t timer;
    struct itimerspec once = {.it_value = {0, 30000000}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    sem_init(&fired, 0, 0);
    handle(SIGUSR1, by_signal, SA_RESTART);
    SHOW(timer_create(CLOCK_MONOTONIC, &event, &timer));
    SHOW(timer_settime(timer, 0, &once, NULL));
    SHOW(sem_wait(&fired));
    SHOW(timer_delete(timer));
    struct sigevent threaded = {.sigev_notify = SIGEV_THREAD, .sigev_value.sival_int = 5,
                                .sigev_notify_function = by_thread};
    SHOW(timer_create(CLOCK_REALTIME, &threaded, &timer));
    SHOW(timer_settime(timer, 0, &once, NULL));
    SHOW(sem_wait(&fired));
    SHOW(timer_delete(timer));
}
