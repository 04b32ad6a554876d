/*
 * A server that probes sources of nondeterminism, each in several ways. It answers lines `WAY NAME`
 * with what it found, and appends the line and the answer to the file `found` in its working
 * directory, so that what each replica found can be compared. The ways are `libc`, `number` (libc's
 * syscall()), `inline` (an instruction of its own) and `handler` (the same in a signal's handler).
 * A line `list` is answered with all names and their ways.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <time.h>
#include "serve.h"

enum way { LIBC, NUMBER, INLINE };

/* Where a probe leaves the bytes that it found, and how many they are. */
static unsigned char found[512];
static size_t size;

static void take(const void *bytes, size_t count) {
    if (count > sizeof found - size) count = sizeof found - size;
    memcpy(found + size, bytes, count);
    size += count;
}

static long by_instruction(long number, long a, long b, long c, long d) {
    register long fourth __asm__("r10") = d;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return result;
}

static long call(enum way way, long number, long a, long b, long c, long d) {
    if (way == INLINE) return by_instruction(number, a, b, c, d);
    long result = syscall(number, a, b, c, d);
    return result < 0 ? -errno : result;
}

#define PLACE(x) ((long)(uintptr_t)(x))

static void put(long value) { take(&value, sizeof value); }

static void clock_of(enum way way, clockid_t id) {
    struct timespec now = {0};
    if (way == LIBC) clock_gettime(id, &now);
    else call(way, SYS_clock_gettime, id, PLACE(&now), 0, 0);
    take(&now, sizeof now);
}

static void real_time(enum way way) { clock_of(way, CLOCK_REALTIME); }
static void monotonic(enum way way) { clock_of(way, CLOCK_MONOTONIC); }
static void processor_time(enum way way) { clock_of(way, CLOCK_PROCESS_CPUTIME_ID); }

static void time_of_day(enum way way) {
    struct timeval now = {0};
    if (way == LIBC) gettimeofday(&now, NULL);
    else call(way, SYS_gettimeofday, PLACE(&now), 0, 0, 0);
    take(&now, sizeof now);
}

static void stamp(enum way way) {
    (void)way;
    put((long)__builtin_ia32_rdtsc());
}

static void processor(enum way way) {
    (void)way;
    unsigned a = 0, b = 0, c = 0, d = 0;
    __get_cpuid(1, &a, &b, &c, &d);
    put((long)b << 32 | a);
}

static void hardware_random(enum way way) {
    (void)way;
    unsigned char ok;
    uint64_t value = 0;
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d) && c & 1u << 30)
        __asm__ volatile("rdrand %0; setc %1" : "=r"(value), "=qm"(ok) : : "cc");
    put((long)value);
}

static void which_processor(enum way way) {
    unsigned cpu = 0, node = 0;
    if (way == LIBC) getcpu(&cpu, &node);
    else call(way, SYS_getcpu, PLACE(&cpu), PLACE(&node), 0, 0);
    put(cpu);
}

static void random_bytes(enum way way) {
    char bytes[16] = {0};
    if (way == LIBC) (void)!getrandom(bytes, sizeof bytes, 0);
    else call(way, SYS_getrandom, PLACE(bytes), sizeof bytes, 0, 0);
    take(bytes, sizeof bytes);
}

static void contents(enum way way, const char *path, size_t most) {
    char bytes[256] = {0};
    long fd = way == LIBC ? open(path, O_RDONLY)
                          : call(way, SYS_openat, AT_FDCWD, PLACE(path), O_RDONLY, 0);
    if (fd < 0) return put(fd);
    if (most > sizeof bytes) most = sizeof bytes;
    long got = way == LIBC ? read((int)fd, bytes, most)
                           : call(way, SYS_read, fd, PLACE(bytes), (long)most, 0);
    close((int)fd);
    if (got > 0) take(bytes, (size_t)got);
}

static void random_file(enum way way) { contents(way, "/dev/urandom", 16); }
static void uuid(enum way way) { contents(way, "/proc/sys/kernel/random/uuid", 36); }
static void own_stat(enum way way) { contents(way, "/proc/self/stat", 256); }
static void memory_file(enum way way) { contents(way, "/proc/meminfo", 256); }
static void load_file(enum way way) { contents(way, "/proc/loadavg", 64); }

static void temporary_name(enum way way) {
    (void)way;
    char name[] = "probe-XXXXXX";
    int fd = mkstemp(name);
    take(name, sizeof name);
    if (fd >= 0) close(fd), unlink(name);
}

static void addresses(enum way way) {
    (void)way;
    void *heap = malloc(100), *large = malloc(1 << 20);
    put(PLACE(&way)), put(PLACE(heap)), put(PLACE(large)), put(PLACE(addresses));
    free(heap), free(large);
}

static void vector_random(enum way way) {
    (void)way;
    take((const void *)getauxval(AT_RANDOM), 16);
}

static void ids(enum way way) {
    if (way == LIBC) put(getpid()), put(gettid()), put(getppid());
    else
        put(call(way, SYS_getpid, 0, 0, 0, 0)), put(call(way, SYS_gettid, 0, 0, 0, 0)),
            put(call(way, SYS_getppid, 0, 0, 0, 0));
}

static void space(enum way way) {
    struct statfs about = {0};
    if (way == LIBC) statfs(".", &about);
    else call(way, SYS_statfs, PLACE("."), PLACE(&about), 0, 0);
    put((long)about.f_bfree), put((long)about.f_ffree), put((long)about.f_blocks);
}

static void machine_name(enum way way) {
    struct utsname name = {0};
    if (way == LIBC) uname(&name);
    else call(way, SYS_uname, PLACE(&name), 0, 0, 0);
    take(name.nodename, sizeof name.nodename);
}

static void system_figures(enum way way) {
    struct sysinfo about = {0};
    if (way == LIBC) sysinfo(&about);
    else call(way, SYS_sysinfo, PLACE(&about), 0, 0, 0);
    put(about.uptime), put((long)about.freeram), put((long)about.totalram), put(about.procs);
    put((long)about.loads[0]);
}

static void used(enum way way) {
    struct rusage usage = {0};
    if (way == LIBC) getrusage(RUSAGE_SELF, &usage);
    else call(way, SYS_getrusage, RUSAGE_SELF, PLACE(&usage), 0, 0);
    take(&usage, sizeof usage);
}

static void ticks(enum way way) {
    struct tms used_by = {0};
    put(way == LIBC ? times(&used_by) : call(way, SYS_times, PLACE(&used_by), 0, 0, 0));
    take(&used_by, sizeof used_by);
}

static void processors(enum way way) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (way == LIBC) sched_getaffinity(0, sizeof set, &set);
    else call(way, SYS_sched_getaffinity, 0, sizeof set, PLACE(&set), 0);
    put(CPU_COUNT(&set)), put(sysconf(_SC_NPROCESSORS_ONLN));
}

static void limits(enum way way) {
    struct rlimit limit = {0};
    if (way == LIBC) getrlimit(RLIMIT_NOFILE, &limit);
    else call(way, SYS_getrlimit, RLIMIT_NOFILE, PLACE(&limit), 0, 0);
    take(&limit, sizeof limit);
}

static void resident(enum way way) {
    unsigned char pages[4] = {0};
    static char memory[1 << 14] __attribute__((aligned(4096)));
    memory[0] = 1;
    if (way == LIBC) mincore(memory, sizeof memory, pages);
    else call(way, SYS_mincore, PLACE(memory), sizeof memory, PLACE(pages), 0);
    take(pages, sizeof pages);
}

static void inode(enum way way) {
    struct stat about = {0};
    int fd = open("probe-file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (way == LIBC) fstat(fd, &about);
    else call(way, SYS_fstat, fd, PLACE(&about), 0, 0);
    put((long)about.st_ino), take(&about.st_mtim, sizeof about.st_mtim);
    close(fd);
}

static void empty_memory(enum way way) {
    (void)way;
    volatile char *fresh = malloc(4096);
    char bytes[64];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = fresh[2048 + i];
    free((void *)fresh);
    take(bytes, sizeof bytes);
}

/* The row of NONDETERMINISM.md, the name, whether it has no ways but `libc` and `handler`, or those
 * of an instruction, and the function. */
static const struct probe {
    int row;
    const char *name;
    int ways;
    void (*run)(enum way);
} PROBES[] = {
    {10, "real-time", 3, real_time},
    {10, "monotonic", 3, monotonic},
    {10, "processor-time", 3, processor_time},
    {10, "time-of-day", 3, time_of_day},
    {12, "time-stamp", 1, stamp},
    {13, "cpuid", 1, processor},
    {14, "rdrand", 1, hardware_random},
    {15, "getcpu", 3, which_processor},
    {16, "getrandom", 3, random_bytes},
    {16, "urandom", 3, random_file},
    {16, "uuid", 3, uuid},
    {16, "mkstemp", 1, temporary_name},
    {17, "addresses", 1, addresses},
    {18, "at-random", 1, vector_random},
    {20, "ids", 3, ids},
    {21, "inode", 3, inode},
    {24, "statfs", 3, space},
    {25, "uname", 3, machine_name},
    {26, "sysinfo", 3, system_figures},
    {26, "rusage", 3, used},
    {26, "times", 3, ticks},
    {26, "proc-stat", 3, own_stat},
    {26, "proc-meminfo", 3, memory_file},
    {26, "proc-loadavg", 3, load_file},
    {27, "processors", 3, processors},
    {39, "fresh-memory", 1, empty_memory},
    {41, "mincore", 3, resident},
    {42, "limits", 3, limits},
};
#define COUNT (sizeof PROBES / sizeof *PROBES)

static const char *const WAYS[] = {"libc", "number", "inline", "handler"};

static const struct probe *in_handler;

static void on_signal(int number) {
    (void)number;
    in_handler->run(in_handler->ways == 3 ? INLINE : LIBC);
}

/* Runs the probe that a line names. Returns whether there is one. */
static int run(const char *way, const char *name) {
    size = 0;
    for (size_t i = 0; i < COUNT; i++) {
        if (strcmp(PROBES[i].name, name)) continue;
        for (int kind = LIBC; kind < PROBES[i].ways; kind++)
            if (!strcmp(way, WAYS[kind])) return PROBES[i].run((enum way)kind), 1;
        if (strcmp(way, "handler")) return 0;
        in_handler = &PROBES[i];
        signal(SIGUSR1, on_signal);
        raise(SIGUSR1);
        return 1;
    }
    return 0;
}

static uint64_t digest(void) {
    uint64_t sum = 0xcbf29ce484222325;
    for (size_t i = 0; i < size; i++) sum = (sum ^ found[i]) * 0x100000001b3;
    return sum;
}

static void *serve(void *argument) {
    int fd = (int)(long)argument;
    FILE *in = fdopen(fd, "r");
    char line[128], way[32], name[64], answer[256];
    while (in && fgets(line, sizeof line, in)) {
        if (!strncmp(line, "list", 4)) {
            for (size_t i = 0; i < COUNT; i++)
                for (int kind = 0; kind < 4; kind++) {
                    if (kind != 3 && kind >= PROBES[i].ways) continue;
                    snprintf(answer, sizeof answer, "%d %s %s\n", PROBES[i].row, WAYS[kind],
                             PROBES[i].name);
                    if (send(fd, answer, strlen(answer), MSG_NOSIGNAL) < 0) break;
                }
            snprintf(answer, sizeof answer, "end\n");
        } else if (sscanf(line, "%31s %63s", way, name) == 2 && run(way, name)) {
            /* The client gets what is the same everywhere: the replicas' bytes are in the file. */
            int file = open("found", O_WRONLY | O_CREAT | O_APPEND, 0600);
            int length = snprintf(answer, sizeof answer, "%s %s %016lx\n", way, name, digest());
            if (file < 0 || write(file, answer, (size_t)length) != length) _exit(3);
            close(file);
            snprintf(answer, sizeof answer, "done\n");
        } else {
            snprintf(answer, sizeof answer, "unknown\n");
        }
        if (send(fd, answer, strlen(answer), MSG_NOSIGNAL) < 0) break;
    }
    if (in) fclose(in);
    return NULL;
}

int main(int count, char **words) {
    return serve_each(listen_at(words[count - 1]), serve);
}
