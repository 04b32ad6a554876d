/*
 * A server that reads the clocks which no function of libc and no system call answers: the
 * processor's time stamp, by both instructions, and the functions of the kernel's own library
 * (vDSO), which it finds through the auxiliary vector. It also shows the random bytes of that
 * vector. It blocks all signals while it reads, then recovers from a fault by a handler of its own,
 * and starts children, whose dynamic linker reads the time stamp as well.
 *
 * A line "vdso" reads only the clock of the kernel's library.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <time.h>
#include <x86intrin.h>

#include "serve.h"

static sigjmp_buf before_fault;
static int (*vdso_clock_gettime)(clockid_t, struct timespec *);
static time_t (*vdso_time)(time_t *);

/* Returns a function of the kernel's library. Its table of symbols has a section, which says how
 * many there are. */
static void *find(const char *name) {
    const char *image = (const char *)getauxval(AT_SYSINFO_EHDR);
    if (image == NULL) return NULL;
    const Elf64_Ehdr *header = (const void *)image;
    const Elf64_Shdr *sections = (const void *)(image + header->e_shoff);
    for (int i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type != SHT_DYNSYM) continue;
        const Elf64_Sym *symbols = (const void *)(image + sections[i].sh_offset);
        const char *names = image + sections[sections[i].sh_link].sh_offset;
        for (size_t at = 0; at < sections[i].sh_size / sizeof *symbols; at++)
            if (strcmp(names + symbols[at].st_name, name) == 0)
                return (void *)(image + symbols[at].st_value);
    }
    return NULL;
}

static void on_fault(int signal) {
    uint64_t now = __rdtsc();
    siglongjmp(before_fault, now != 0 && signal == SIGSEGV);
}

/* Returns 1 if a fault of the program's own reaches its handler. */
static int recover(void) {
    int came = sigsetjmp(before_fault, 1);
    if (came == 0) *(volatile int *)8 = 0;
    return came;
}

/* Returns the sum of the statuses of two children. */
static int children(void) {
    extern char **environ;
    char *const arguments[] = {"true", NULL};
    int first = -1, second = -1;
    pid_t child = fork();
    if (child == 0) {
        __rdtsc();
        execv("/bin/true", arguments);
        _exit(9);
    }
    waitpid(child, &first, 0);
    if (posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ) == 0)
        waitpid(child, &second, 0);
    return first + second;
}

static int take(int fd, const char *line, char *answer, size_t size) {
    (void)fd;
    struct timespec now;
    vdso_clock_gettime(CLOCK_MONOTONIC, &now);
    if (strncmp(line, "vdso", 4) == 0)
        return snprintf(answer, size, "%ld.%09ld\n", now.tv_sec, now.tv_nsec);
    sigset_t all, mask;
    unsigned processor;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &mask);
    uint64_t first = __rdtsc(), second = __rdtscp(&processor), third = __rdtsc();
    sigprocmask(SIG_SETMASK, &mask, NULL);
    uint64_t random[2];
    memcpy(random, (const void *)getauxval(AT_RANDOM), sizeof random);
    int recovered = recover(), ended = children();
    uint64_t last = __rdtsc();
    return snprintf(answer, size, "%d, %d, %d: %llu %llu %llu %u, %ld %ld.%09ld, %016lx\n",
                    first < second && second < third && third < last, recovered, ended,
                    (unsigned long long)first, (unsigned long long)(second - first),
                    (unsigned long long)last, processor & 0xfff, (long)vdso_time(NULL), now.tv_sec,
                    now.tv_nsec, random[0] ^ random[1]);
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    vdso_clock_gettime = find("__vdso_clock_gettime");
    vdso_time = find("__vdso_time");
    if (vdso_clock_gettime == NULL || vdso_time == NULL) return 4;
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
    serve_lines(listen_at(arguments[1]), take);
}
