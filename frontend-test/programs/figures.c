/*
 * A server that answers each line with the figures of its host as it sees them. It starts a thread
 * for each of its processors, as servers do, and adds their own numbers of processors up.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include "serve.h"

static void *runs_on(void *place) {
    cpu_set_t own;
    int *sum = place;
    if (!pthread_getaffinity_np(pthread_self(), sizeof own, &own)) *sum += CPU_COUNT(&own);
    return NULL;
}

/* Starts a thread for each processor, and returns the sum of their own numbers of processors. */
static int by_threads(int count) {
    pthread_t threads[CPU_SETSIZE];
    static int sums[CPU_SETSIZE];
    int sum = 0;
    for (int i = 0; i < count; i++) {
        sums[i] = 0;
        if (pthread_create(&threads[i], NULL, runs_on, &sums[i])) exit(1);
    }
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        sum += sums[i];
    }
    return sum;
}

static int take(int fd, const char *line, char *answer, size_t size) {
    (void)fd;
    (void)line;
    cpu_set_t own;
    struct sysinfo host;
    struct rusage used;
    if (sched_getaffinity(0, sizeof own, &own) || sysinfo(&host)) exit(1);
    int count = CPU_COUNT(&own), sum = by_threads(count);
    if (getrusage(RUSAGE_SELF, &used)) exit(1);
    return snprintf(answer, size,
                    "processors %d own %d at %d sum %d memory %lu up %ld used %ld.%06ld %ld\n",
                    get_nprocs(), count, sched_getcpu(), sum, host.totalram, host.uptime,
                    used.ru_utime.tv_sec, used.ru_utime.tv_usec, (long)times(NULL));
}

int main(int count, char **arguments) {
    if (count < 2) return 2;
    serve_lines(listen_at(arguments[1]), take);
}
