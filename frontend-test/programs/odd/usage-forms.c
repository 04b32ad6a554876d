// kind: usage, uptime, memory and load by functions and by number, beside the clocks
#include "odd.h"
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/times.h>

static long long micro(struct timeval at) { return at.tv_sec * 1000000ll + at.tv_usec; }

static long long used_by(int who) {
    struct rusage used;
    MUST(getrusage(who, &used) == 0);
    return micro(used.ru_utime) + micro(used.ru_stime);
}

static void odd(void) {
    struct sysinfo host;
    struct timespec up;
    struct tms used;
    double loads[4] = {-1, -1, -1, -1};
    long long of_thread = used_by(RUSAGE_THREAD), of_process = used_by(RUSAGE_SELF);
    say("%d\n", of_thread <= of_process);
    for (int i = 0; i < 100000; i++) used_by(RUSAGE_SELF);
    say("%d\n", used_by(RUSAGE_SELF) > of_process);
    clock_t ticks = times(&used);
    say("%d %d\n", ticks > 0, used.tms_utime + used.tms_stime <= ticks);
    SHOW(used.tms_cutime + used.tms_cstime);
    SHOW(syscall(SYS_times, NULL) >= ticks);
    SHOW(syscall(SYS_getrusage, RUSAGE_SELF, NULL));
    SHOW(syscall(SYS_getrusage, 77, NULL));
    SHOW(sysinfo(&host));
    MUST(clock_gettime(CLOCK_BOOTTIME, &up) == 0);
    say("%d\n", up.tv_sec - host.uptime <= 1 && host.uptime - up.tv_sec <= 1);
    unsigned long long bytes = (unsigned long long)host.totalram * host.mem_unit;
    say("%d\n", bytes / getpagesize() == (unsigned long long)get_phys_pages());
    say("%d %d\n", host.freeram <= host.totalram, host.procs > 0);
    SHOW(get_phys_pages() == sysconf(_SC_PHYS_PAGES));
    SHOW(get_avphys_pages() > 0 && get_avphys_pages() <= get_phys_pages());
    SHOW(syscall(SYS_sysinfo, &host));
    SHOW(syscall(SYS_sysinfo, NULL));
    SHOW(getloadavg(loads, 4));
    SHOW(loads[0] >= 0 && loads[2] >= 0 && loads[3] < 0);
    SHOW(getloadavg(loads, 0));
    SHOW(sysconf(-1));
}
