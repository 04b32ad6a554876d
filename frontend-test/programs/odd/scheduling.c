// kind: scheduling policy, priority limits, affinity and yields, by process and by thread
#include "odd.h"
#include <sched.h>

static void odd(void) {
    struct sched_param param = {.sched_priority = 0};
    cpu_set_t set, of_thread;
    int policy = -1;
    SHOW(sched_getscheduler(0));
    SHOW(sched_getparam(0, &param));
    say("%d\n", param.sched_priority);
    SHOW(sched_setscheduler(0, SCHED_BATCH, &param));
    SHOW(sched_getscheduler(0));
    SHOW(sched_setscheduler(0, SCHED_OTHER, &param));
    param.sched_priority = 5;
    SHOW(sched_setscheduler(0, SCHED_OTHER, &param));
    SHOW(sched_setscheduler(0, 77, &param));
    SHOW(sched_get_priority_max(SCHED_FIFO));
    SHOW(sched_get_priority_min(SCHED_RR));
    SHOW(sched_get_priority_max(77));
    CODE(pthread_getschedparam(pthread_self(), &policy, &param));
    say("%d %d\n", policy, param.sched_priority);
    CODE(pthread_setschedprio(pthread_self(), 3));
    SHOW(sched_getaffinity(0, sizeof set, &set));
    CODE(pthread_getaffinity_np(pthread_self(), sizeof of_thread, &of_thread));
    say("%d %d\n", CPU_COUNT(&set) > 0, CPU_EQUAL(&set, &of_thread));
    SHOW(sched_setaffinity(0, sizeof set, &set));
    CODE(pthread_setaffinity_np(pthread_self(), sizeof set, &set));
    CPU_ZERO(&of_thread);
    SHOW(sched_setaffinity(0, sizeof of_thread, &of_thread));
    SHOW(sched_getaffinity(0, 1, &set));
    int cpu = sched_getcpu();
    say("%d\n", cpu >= 0 && CPU_ISSET(cpu, &set));
    SHOW(sched_yield());
}
