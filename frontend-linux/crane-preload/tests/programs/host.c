/* The figures of the host, the processors on which threads may run, and usage. */
#include "corners.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/wait.h>

static void *own_processors(void *set) {
    CHECK(!pthread_getaffinity_np(pthread_self(), sizeof(cpu_set_t), set));
    return NULL;
}

/* The processors on which threads may run. */
static void affinity(void) {
    cpu_set_t all, last, other, none;
    pthread_attr_t attributes;
    pthread_t thread;
    unsigned at = 99, node = 99;
    int number = CPU_SETSIZE - 1;
    CHECK(!sched_getaffinity(0, sizeof all, &all) && CPU_COUNT(&all) > 0);
    CHECK(sched_getaffinity(0, 12, &other) == -1 && errno == EINVAL);
    CHECK(sched_getaffinity(0, 0, &other) == -1 && errno == EINVAL);
    CHECK(sched_getaffinity(0x3ffffff, sizeof other, &other) == -1 && errno == ESRCH);
    CHECK(syscall(SYS_sched_getaffinity, 0, sizeof other, NULL) == -1 && errno == EFAULT);
    long bytes = syscall(SYS_sched_getaffinity, getpid(), sizeof other, &other);
    CHECK(bytes > 0 && bytes % 8 == 0 && !memcmp(&all, &other, bytes));
    while (!CPU_ISSET(number, &all)) number--;
    CPU_ZERO(&none);
    CPU_ZERO(&last);
    CPU_SET(number, &last);
    /* A processor that no host has is left out of a set, unless it is all of it. */
    other = last;
    CPU_SET(CPU_SETSIZE - 1, &other);
    CHECK(!sched_setaffinity(gettid(), sizeof other, &other));
    CHECK(!sched_getaffinity(gettid(), sizeof other, &other) && CPU_EQUAL(&last, &other));
    CHECK(sched_getcpu() == number && !getcpu(&at, &node) && (int)at == number && node == 0);
    CHECK(!syscall(SYS_getcpu, &at, NULL, NULL) && (int)at == number && !getcpu(NULL, NULL));
    CHECK(sched_setaffinity(0, sizeof none, &none) == -1 && errno == EINVAL);
    CHECK(sched_setaffinity(0, 0, &all) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_sched_setaffinity, 0, sizeof all, NULL) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_sched_setaffinity, 0x3ffffff, sizeof all, &all) == -1 && errno == ESRCH);
    /* A thread begins with its creator's, unless its attributes have others. */
    result_of(begin(own_processors, &other));
    CHECK(CPU_EQUAL(&last, &other));
    CHECK(!pthread_attr_init(&attributes));
    CHECK(!pthread_attr_setaffinity_np(&attributes, sizeof all, &all));
    CHECK(!pthread_create(&thread, &attributes, own_processors, &other));
    result_of(thread);
    CHECK(CPU_EQUAL(&all, &other));
    CHECK(!pthread_attr_getaffinity_np(&attributes, sizeof other, &other));
    CHECK(CPU_EQUAL(&all, &other));
    CHECK(!pthread_attr_setaffinity_np(&attributes, sizeof none, &none));
    CHECK(pthread_create(&thread, &attributes, own_processors, &other) == EINVAL);
    CHECK(!pthread_attr_destroy(&attributes));
    CHECK(pthread_setaffinity_np(pthread_self(), sizeof none, &none) == EINVAL);
    CHECK(!pthread_setaffinity_np(pthread_self(), sizeof all, &all));
    own_processors(&other);
    CHECK(CPU_EQUAL(&all, &other));
}

/* The usage of the program, and the figures of its host. */
static void usage(void) {
    struct rusage used, later;
    struct sysinfo host;
    struct tms parts;
    double loads[4] = {-1, -1, -1, -1};
    CHECK(sysconf(_SC_NPROCESSORS_ONLN) > 0 && sysconf(_SC_NPROCESSORS_ONLN) == get_nprocs());
    CHECK(sysconf(_SC_NPROCESSORS_CONF) == get_nprocs_conf() && sysconf(_SC_PAGESIZE) == 4096);
    CHECK(sysconf(_SC_PHYS_PAGES) == get_phys_pages() && get_avphys_pages() > 0);
    CHECK(get_avphys_pages() <= get_phys_pages() && sysconf(-1) == -1 && errno == EINVAL);
    CHECK(!getrusage(RUSAGE_SELF, &used) && used.ru_maxrss > 0);
    for (int i = 0; i < 100; i++) {
        CHECK(!syscall(SYS_getrusage, RUSAGE_SELF, &later));
        CHECK(!timercmp(&later.ru_utime, &used.ru_utime, <));
        used = later;
    }
    CHECK(!getrusage(RUSAGE_THREAD, &used) && !getrusage(RUSAGE_CHILDREN, &used));
    CHECK(getrusage(77, &used) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_getrusage, RUSAGE_SELF, NULL) == -1 && errno == EFAULT);
    CHECK(times(NULL) > 0 && syscall(SYS_times, &parts) > 0 && parts.tms_cutime == 0);
    CHECK(!sysinfo(&host) && host.uptime > 0 && host.totalram >= host.freeram && host.procs);
    CHECK(host.totalram * host.mem_unit / 4096 == (unsigned long)get_phys_pages());
    CHECK(syscall(SYS_sysinfo, NULL) == -1 && errno == EFAULT);
    CHECK(getloadavg(loads, 4) == 3 && loads[0] >= 0 && loads[2] >= 0 && loads[3] == -1);
    CHECK(getloadavg(loads, 0) == 0);
}

/* Prints the figures of the host, for the test that has set them. */
static void figures(void) {
    cpu_set_t all;
    struct sysinfo host;
    CHECK(!sched_getaffinity(0, sizeof all, &all) && !sysinfo(&host));
    printf("%d %d %ld %lu\n", get_nprocs(), CPU_COUNT(&all), get_phys_pages(), host.totalram);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        CHECK(!sched_getaffinity(getpid(), sizeof all, &all));
        printf("%ld %d %d\n", sysconf(_SC_NPROCESSORS_CONF), CPU_COUNT(&all), sched_getcpu());
        fflush(stdout);
        _exit(0);
    }
    int status;
    struct rusage used = {.ru_maxrss = 1};
    CHECK(wait4(child, &status, 0, &used) == child && !status);
    printf("%ld\n", used.ru_maxrss);
}

static const struct probe probes[] = {
    {"affinity", affinity}, {"usage", usage}, {"figures", figures},
};

int main(int count, char **arguments) {
    return count < 2 ? 2 : run_probe(arguments[1], probes, sizeof probes / sizeof *probes);
}
