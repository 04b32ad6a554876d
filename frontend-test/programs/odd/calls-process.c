// kind: calls about the process, its files, signals and memory with bad arguments, in both ways
#include "odd.h"
#include <asm/prctl.h>
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static char space[4096];
static struct rlimit limit = {5, 4};
static struct timespec none, never = {.tv_nsec = -1};
static uint64_t mask = 1 << 9;
static uint32_t word = 5;
static struct { long handler, flags, restorer; uint64_t mask; } action;

#define NOWHERE AT("none/none")

static void try_all(const char *way, long (*call)(const struct attempt *)) {
    const struct attempt all[] = {
        /* files by name */
        TRY(stat, NOWHERE, AT(space)), TRY(lstat, NOWHERE, AT(space)),
        TRY(newfstatat, -1, AT("none"), AT(space), 0),
        TRY(newfstatat, AT_FDCWD, AT("/"), AT(space), 1 << 30),
        TRY(statx, AT_FDCWD, NOWHERE, 0, 0, AT(space)), TRY(access, NOWHERE, 0),
        TRY(access, AT("/"), 77), TRY(faccessat, -1, AT("none"), 0),
        TRY(faccessat2, AT_FDCWD, AT("/"), 0, 1), TRY(readlink, AT("/"), AT(space), 9),
        TRY(readlinkat, AT_FDCWD, NOWHERE, AT(space), 9), TRY(getcwd, AT(space), 1),
        TRY(chdir, NOWHERE), TRY(rename, NOWHERE, AT("other")),
        TRY(renameat, -1, AT("none"), -1, AT("other")),
        TRY(renameat2, AT_FDCWD, AT("."), AT_FDCWD, AT("other"), 77), TRY(mkdir, NOWHERE, 0700),
        TRY(mkdirat, -1, AT("none"), 0700), TRY(rmdir, NOWHERE), TRY(rmdir, AT(".")),
        TRY(link, NOWHERE, AT("other")), TRY(linkat, -1, AT("none"), -1, AT("other"), 0),
        TRY(unlink, NOWHERE), TRY(unlinkat, AT_FDCWD, NOWHERE, 77), TRY(symlink, AT(""), AT("x")),
        TRY(symlinkat, AT("to"), -1, AT("none")), TRY(mknod, NOWHERE, S_IFIFO | 0600, 0),
        TRY(mknodat, -1, AT("none"), S_IFIFO | 0600, 0), TRY(chmod, NOWHERE, 0600),
        TRY(fchmodat, -1, AT("none"), 0600), TRY(chown, NOWHERE, -1, -1),
        TRY(lchown, NOWHERE, -1, -1), TRY(fchownat, -1, AT("none"), -1, -1, 0),
        TRY(truncate, NOWHERE, 0), TRY(truncate, AT("."), -1), TRY(utimensat, -1, AT("none"), 0, 0),
        TRY(getxattr, NOWHERE, AT("user.none"), AT(space), 9),
        TRY(setxattr, NOWHERE, AT("user.none"), AT(space), 1, 0),
        TRY(setxattr, AT("."), AT("none"), AT(space), 1, 77),
        TRY(listxattr, NOWHERE, AT(space), 9), TRY(removexattr, NOWHERE, AT("user.none")),
        TRY(open, NOWHERE, O_RDONLY), TRY(openat, -1, AT("none"), O_RDONLY), TRY(umask, 022),
        TRY(execve, NOWHERE, 0, 0), TRY(execveat, -1, AT("none"), 0, 0, 0),
        /* the process */
        TRY(getpriority, 77, 0), TRY(setpriority, 77, 0, 0), TRY(getpgid, -1), TRY(getsid, -1),
        TRY(setpgid, -1, 0), TRY(prctl, 9999), TRY(prctl, PR_GET_DUMPABLE), TRY(arch_prctl, 77, 0),
        TRY(arch_prctl, ARCH_GET_FS, 0), TRY(arch_prctl, ARCH_GET_FS, 8),
        TRY(arch_prctl, ARCH_SET_FS, 1ul << 63),
        TRY(getrlimit, 77, AT(&limit)), TRY(setrlimit, 7, AT(&limit)),
        TRY(prlimit64, 0, 77, 0, AT(space)), TRY(getrusage, 77, AT(space)),
        TRY(sched_getparam, 0, 0), TRY(sched_getscheduler, -1), TRY(sched_get_priority_max, 77),
        TRY(sched_setscheduler, 0, 77, AT(space)), TRY(sched_getaffinity, 0, 1, AT(space)),
        TRY(sched_setaffinity, 0, 8, AT(space)), TRY(setgroups, -1, AT(space)),
        TRY(capget, AT(space), 0), TRY(wait4, -1, 0, 77, 0), TRY(wait4, 1 << 22, 0, WNOHANG, 0),
        TRY(waitid, 77, 0, AT(space), WEXITED, 0), TRY(waitid, P_ALL, 0, AT(space), 0, 0),
        /* signals */
        TRY(kill, 1 << 22, 0), TRY(kill, 0, 77), TRY(tgkill, -1, 1, 0), TRY(tkill, -1, 0),
        TRY(rt_sigaction, 0, 0, 0, 8), TRY(rt_sigaction, 10, 0, 0, 4),
        TRY(rt_sigaction, SIGKILL, AT(&action), 0, 8), TRY(rt_sigaction, 77, 0, AT(&action), 8),
        TRY(rt_sigaction, SIGUSR2, 0, AT(&action), 8), TRY(rt_sigaction, SIGUSR2, 1, 0, 8),
        TRY(rt_sigprocmask, 77, AT(&mask), 0, 8), TRY(rt_sigprocmask, 0, AT(&mask), 0, 4),
        TRY(rt_sigprocmask, SIG_BLOCK, 1, 0, 8), TRY(rt_sigprocmask, SIG_SETMASK, 0, AT(space), 8),
        TRY(rt_sigtimedwait, AT(&mask), 0, AT(&never), 8),
        TRY(rt_sigtimedwait, AT(&mask), 0, AT(&none), 8), TRY(rt_sigtimedwait, AT(&mask), 0, 0, 4),
        TRY(rt_sigsuspend, AT(&mask), 4), TRY(sigaltstack, 0, 0),
        /* memory */
        TRY(mmap, 1, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED, -1, 0), TRY(mmap, 0, 0, 0, 0, -1, 0),
        TRY(munmap, 1, 4096), TRY(munmap, 0, 0), TRY(mprotect, 1, 4096, 0),
        TRY(mremap, 1, 4096, 4096, 0), TRY(madvise, 1, 4096, 77), TRY(mlock, 1l << 46, 4096),
        TRY(munlock, 1l << 46, 4096), TRY(msync, 1, 4096, MS_SYNC), TRY(msync, 0, 4096, 77),
        TRY(pkey_free, 99), TRY(membarrier, 9999, 0, 0), TRY(memfd_create, AT("x"), -1),
        TRY(mincore, 1, 4096, AT(space)), TRY(get_robust_list, -1, AT(space), AT(space)),
        TRY(set_robust_list, 0, 7),
        /* waits */
        TRY(futex, AT(&word), FUTEX_WAIT_PRIVATE, 4, 0, 0, 0), TRY(futex, AT(&word), 77, 0),
        TRY(futex, AT(&word), FUTEX_WAKE_PRIVATE, 1), TRY(futex, AT(&word) + 1, FUTEX_WAKE, 1),
        TRY(futex, AT(&word), FUTEX_WAIT_PRIVATE, 5, AT(&never)),
        TRY(futex, AT(&word), FUTEX_WAIT_PRIVATE, 5, AT(&none)),
        TRY(nanosleep, AT(&never), 0), TRY(clock_nanosleep, 1, 0, AT(&never), 0),
        TRY(sched_yield), TRY(alarm, 0), TRY(semget, 7, -1, 0), TRY(semop, -1, AT(space), 1),
        TRY(semctl, -1, 0, 0), TRY(semtimedop, -1, AT(space), 1, 0), TRY(msgget, 77, 0),
        TRY(msgsnd, -1, AT(space), 1, 0), TRY(msgrcv, -1, AT(space), 1, 0, 0),
        TRY(msgctl, -1, 0, 0),
        TRY(shmget, 7, 0, 0), TRY(shmat, -1, 0, 0), TRY(shmctl, -1, 0, 0), TRY(shmdt, 1),
        TRY(mq_open, AT("none"), O_RDWR, 0, 0), TRY(mq_unlink, AT("none")),
    };
    for (size_t at = 0; at < sizeof all / sizeof *all; at++) {
        show_attempt(way, &all[at], call(&all[at]));
    }
}

static void odd(void) {
    try_all("number", by_number);
    try_all("instruction", by_instruction);
}
