// kind: alarm and setitimer go on in the program that takes this one's place, timer_create does not
#define OWN_LISTENER
#include "odd.h"
#include <sys/time.h>

static volatile int signals;

static void on_signal(int number) { (void)number, signals++; }

static void odd(void) {
    struct itimerval every = {{0, 400000}, {0, 400000}}, left;
    struct itimerspec soon = {.it_value = {0, 1000000}};
    char port_text[16];
    timer_t timer;
    handle(SIGALRM, on_signal, 0);
    if (getenv("ODD_AGAIN")) {
        SHOW(timer_gettime((timer_t)0, &soon));
        while (signals < 2)
            pause();
        SHOW(getitimer(ITIMER_REAL, &left));
        say("interval %ld.%06ld\n", (long)left.it_interval.tv_sec, (long)left.it_interval.tv_usec);
        SHOW(alarm(0) <= 1);
        SHOW(alarm(0));
        listener = listen_at(AF_INET, port);
        say("listens\n");
        return;
    }
    snprintf(port_text, sizeof port_text, "%d", port);
    setenv("ODD_AGAIN", "1", 1);
    SHOW(timer_create(CLOCK_MONOTONIC, NULL, &timer));
    SHOW(setitimer(ITIMER_REAL, &every, NULL));
    execl("/proc/self/exe", "again", port_text, NULL);
    say("exec: %s\n", strerrorname_np(errno));
}
