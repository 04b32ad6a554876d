// kind: numbers of processors, a thread's own and its creator's, by functions and by number
#include "odd.h"
#include <sched.h>
#include <sys/sysinfo.h>

static pthread_barrier_t both;

static void *inherits(void *set) {
    MUST(pthread_getaffinity_np(pthread_self(), sizeof(cpu_set_t), set) == 0);
    return NULL;
}

static void *is_moved(void *set) {
    pthread_barrier_wait(&both);
    pthread_barrier_wait(&both);
    return inherits(set);
}

static void odd(void) {
    cpu_set_t all, one, other;
    pthread_attr_t attributes;
    pthread_t thread;
    unsigned at = CPU_SETSIZE, node = CPU_SETSIZE;
    int last = CPU_SETSIZE - 1;
    SHOW(sysconf(_SC_NPROCESSORS_ONLN) > 0);
    SHOW(get_nprocs() == sysconf(_SC_NPROCESSORS_ONLN));
    SHOW(get_nprocs_conf() == sysconf(_SC_NPROCESSORS_CONF));
    SHOW(sched_getaffinity(0, sizeof all, &all));
    CODE(pthread_getaffinity_np(pthread_self(), sizeof all, &all));
    SHOW(CPU_COUNT(&all) > 0 && CPU_COUNT(&all) <= get_nprocs_conf());
    SHOW(syscall(SYS_sched_getaffinity, 0, sizeof other, &other) % 8);
    SHOW(sched_getaffinity(0, 12, &other));
    SHOW(sched_getaffinity(0x3ffffff, sizeof other, &other));
    while (last >= 0 && !CPU_ISSET(last, &all)) last--;
    CPU_ZERO(&one);
    SHOW(sched_setaffinity(0, sizeof one, &one));
    SHOW(sched_setaffinity(0, 0, &all));
    CPU_SET(last, &one);
    SHOW(sched_setaffinity(gettid(), sizeof one, &one));
    SHOW(sched_getaffinity(0, sizeof other, &other));
    say("%d %d\n", CPU_EQUAL(&one, &other), sched_getcpu() == last);
    SHOW(getcpu(&at, &node));
    say("%d\n", at == (unsigned)last);
    start(&thread, inherits, &other);
    pthread_join(thread, NULL);
    say("%d\n", CPU_EQUAL(&one, &other));
    MUST(pthread_attr_init(&attributes) == 0);
    CODE(pthread_attr_setaffinity_np(&attributes, sizeof all, &all));
    CODE(pthread_create(&thread, &attributes, inherits, &other));
    pthread_join(thread, NULL);
    say("%d\n", CPU_EQUAL(&all, &other));
    MUST(pthread_barrier_init(&both, NULL, 2) == 0);
    CODE(pthread_create(&thread, &attributes, is_moved, &other));
    pthread_barrier_wait(&both);
    CODE(pthread_setaffinity_np(thread, sizeof one, &one));
    pthread_barrier_wait(&both);
    pthread_join(thread, NULL);
    say("%d\n", CPU_EQUAL(&one, &other));
    CPU_ZERO(&other);
    CODE(pthread_attr_setaffinity_np(&attributes, sizeof other, &other));
    CODE(pthread_create(&thread, &attributes, inherits, &other));
    SHOW(syscall(SYS_sched_setaffinity, 0, sizeof all, &all));
}
