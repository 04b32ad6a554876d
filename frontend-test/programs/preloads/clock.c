/* A clock that is off, for one daemon alone: its CLOCK_REALTIME.

   The file that CRANE_TEST_CLOCK names holds two numbers: by how many milliseconds the clock is
   ahead, and by how many millionths it runs too fast, counted from when the file has changed. */

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static char place[4096];
static long long ahead, drift, changed, since, looked;

/* The daemon's own processes, such as its server, inherit neither. */
__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("CRANE_TEST_CLOCK");
    snprintf(place, sizeof place, "%s", name ? name : "");
    unsetenv("LD_PRELOAD");
    unsetenv("CRANE_TEST_CLOCK");
}

static long long nanoseconds(clockid_t clock) {
    struct timespec time;
    syscall(SYS_clock_gettime, clock, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void look(long long now) {
    struct stat found;
    looked = now;
    if (!place[0] || stat(place, &found) != 0)
        return;
    long long stamp = found.st_mtim.tv_sec * 1000000000LL + found.st_mtim.tv_nsec;
    if (stamp == changed)
        return;
    FILE *file = fopen(place, "re");
    if (!file)
        return;
    if (fscanf(file, "%lld %lld", &ahead, &drift) == 2) {
        changed = stamp;
        since = now;
    }
    fclose(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (clock != CLOCK_REALTIME)
        return (int)syscall(SYS_clock_gettime, clock, time);
    long long now = nanoseconds(CLOCK_MONOTONIC);
    if (now - looked > 50000000LL)
        look(now);
    long long drifted = (now - since) / 1000000 * drift;
    long long told = nanoseconds(CLOCK_REALTIME) + ahead * 1000000 + drifted;
    time->tv_sec = told / 1000000000LL;
    time->tv_nsec = told % 1000000000LL;
    return 0;
}
