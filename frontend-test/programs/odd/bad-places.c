// kind: calls by number whose arguments lead to no memory, and to memory that cannot be written to
// needs: --floor
#define PEER
#include "odd.h"
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/timerfd.h>
#include <mqueue.h>
#include <sys/sem.h>

/* Where an argument leads to no memory, and where there is memory that is only read. */
static char *none = (char *)8;
static char *sealed;

static void told(const char *name, const char *way, long result) {
    say("%s, %s: %s\n", name, way, result < 0 ? strerrorname_np(-result) : "ok");
}

static long call(long number, const long *arguments) {
    long result;
    register long d __asm__("r10") = arguments[3];
    register long e __asm__("r8") = arguments[4];
    register long f __asm__("r9") = arguments[5];
    __asm__ volatile("syscall"
        : "=a"(result)
        : "a"(number), "D"(arguments[0]), "S"(arguments[1]), "d"(arguments[2]), "r"(d), "r"(e),
          "r"(f)
        : "rcx", "r11", "memory");
    return result;
}

/* Makes a call in which one argument after the other leads nowhere: those in `places`, of which
 * those in `written` get results. */
static void ask(const char *name, long number, int places, int written, const long *arguments) {
    for (int at = 0; at < 6; at++) {
        long changed[6];
        if (!(places >> at & 1)) continue;
        memcpy(changed, arguments, sizeof changed);
        char way[40];
        snprintf(way, sizeof way, "argument %d missing", at);
        changed[at] = (long)none;
        told(name, way, call(number, changed));
        snprintf(way, sizeof way, "argument %d beyond", at);
        changed[at] = 1L << 62;
        told(name, way, call(number, changed));
        snprintf(way, sizeof way, "argument %d missing, by libc", at);
        changed[at] = (long)none;
        long result = syscall(number, changed[0], changed[1], changed[2], changed[3], changed[4],
            changed[5]);
        told(name, way, result < 0 ? -errno : result);
        if (!(written >> at & 1)) continue;
        snprintf(way, sizeof way, "argument %d sealed", at);
        changed[at] = (long)sealed;
        told(name, way, call(number, changed));
    }
}
#define ASK(name, places, written, ...) \
    ask(#name, SYS_##name, places, written, (const long[6]){__VA_ARGS__})
#define A(number) (1 << (number))


static void odd(void) {
    sealed = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = taken();
    await_sign(fd);
    char room[4096] = {0};
    struct timespec soon = {0, 1000}, other;
    struct itimerspec off = {{0, 0}, {0, 0}}, before;
    struct itimerval no = {{0, 0}, {0, 0}}, was;
    struct epoll_event event = {.events = EPOLLIN};
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t length = sizeof at;
    struct sigevent quiet = {.sigev_notify = SIGEV_NONE};
    uint64_t mask = 1 << (SIGUSR1 - 1);
    int poller = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, 0), one = 1;
    int fresh = socket(AF_INET, SOCK_STREAM, 0);
    fd_set set;
    FD_ZERO(&set);
    ASK(read, A(1), A(1), fd, AT(room), 1);
    ASK(write, A(1), 0, fd, AT(room), 1);
    ASK(readv, A(1), 0, fd, AT(room), 1);
    ASK(writev, A(1), 0, fd, AT(room), 1);
    ASK(recvfrom, A(1), A(1), fd, AT(room), 1, MSG_DONTWAIT, 0, 0);
    ASK(sendto, A(1), 0, fd, AT(room), 1, 0, 0, 0);
    ASK(recvmsg, A(1), 0, fd, AT(room), MSG_DONTWAIT);
    ASK(sendmsg, A(1), 0, fd, AT(room), 0);
    ASK(getrandom, A(0), A(0), AT(room), 8, 0);
    ASK(time, A(0), A(0), AT(room));
    ASK(times, A(0), A(0), AT(room));
    ASK(clock_gettime, A(1), A(1), CLOCK_MONOTONIC, AT(&other));
    ASK(clock_gettime, A(1), A(1), CLOCK_REALTIME, AT(&other));
    ASK(gettimeofday, A(0), A(0), AT(room), 0);
    ASK(getrusage, A(1), A(1), RUSAGE_SELF, AT(room));
    ASK(sysinfo, A(0), A(0), AT(room));
    ASK(getcpu, A(0) | A(1), A(0) | A(1), AT(room), AT(room), 0);
    ASK(sched_getaffinity, A(2), A(2), 0, 128, AT(room));
    ASK(sched_setaffinity, A(2), 0, 0, 128, AT(room));
    ASK(nanosleep, A(0) | A(1), A(1), AT(&soon), 0);
    ASK(clock_nanosleep, A(2), 0, CLOCK_MONOTONIC, 0, AT(&soon), 0);
    ASK(bind, A(1), 0, fresh, AT(&at), sizeof at);
    ASK(connect, A(1), 0, fresh, AT(&at), sizeof at);
    ASK(getsockname, A(1) | A(2), A(1) | A(2), fd, AT(&at), AT(&length));
    ASK(getpeername, A(1) | A(2), A(1) | A(2), fd, AT(&at), AT(&length));
    ASK(setsockopt, A(3), 0, fd, IPPROTO_TCP, TCP_NODELAY, AT(&one), sizeof one);
    length = sizeof one;
    ASK(getsockopt, A(3) | A(4), A(3) | A(4), fd, SOL_SOCKET, SO_TYPE, AT(&one), AT(&length));
    ASK(socketpair, A(3), A(3), AF_UNIX, SOCK_STREAM, 0, AT(room));
    ASK(pipe, A(0), A(0), AT(room));
    ASK(pipe2, A(0), A(0), AT(room), O_CLOEXEC);
    ASK(poll, A(0), 0, AT(room), 1, 0);
    ASK(ppoll, A(0) | A(2), 0, AT(room), 1, AT(&soon), 0, 8);
    ASK(select, A(1) | A(2) | A(3) | A(4), A(1) | A(4), 5, AT(&set), AT(&set), AT(&set), AT(room));
    ASK(epoll_ctl, A(3), 0, poller, EPOLL_CTL_ADD, fd, AT(&event));
    MUST(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0);
    ASK(rt_sigsuspend, A(0), 0, AT(&mask), 8);
    ASK(rt_sigtimedwait, A(0) | A(2), 0, AT(&mask), 0, AT(&soon), 8);
    ASK(setitimer, A(1) | A(2), A(2), ITIMER_REAL, AT(&no), AT(&was));
    ASK(getitimer, A(1), A(1), ITIMER_REAL, AT(&was));
    ASK(timerfd_settime, A(2) | A(3), A(3), timer, 0, AT(&off), AT(&before));
    ASK(timerfd_gettime, A(1), A(1), timer, AT(&before));
    ASK(timer_create, A(1) | A(2), A(2), CLOCK_MONOTONIC, AT(&quiet), AT(room));
    ASK(signalfd4, A(1), 0, -1, AT(&mask), 8, 0);
    ASK(prlimit64, A(2) | A(3), A(3), 0, RLIMIT_CORE, 0, AT(room));
    ASK(getrlimit, A(1), A(1), RLIMIT_CORE, AT(room));
    ASK(setrlimit, A(1), 0, RLIMIT_CORE, AT(room));
    /* Nothing is used of these, or something else is wrong before. */
    ASK(read, A(1), 0, -1, AT(room), 1);
    ASK(write, A(1), 0, -1, AT(room), 1);
    ASK(read, A(1), 0, fd, AT(room), 0);
    ASK(getsockname, A(1), 0, -1, AT(&at), AT(&length));
    ASK(clock_gettime, A(1), 0, 99, AT(&other));
    ASK(getrusage, A(1), 0, 99, AT(room));
    ASK(poll, A(0), 0, AT(room), 0, 0);
    ASK(epoll_wait, A(1), 0, poller, AT(room), 0, 0);
    ASK(recvfrom, A(5), 0, fd, AT(room), 1, MSG_DONTWAIT | MSG_PEEK, 0, 0);
    told("epoll_ctl", "none", syscall(SYS_epoll_ctl, poller, EPOLL_CTL_MOD, fd, 0) ? -errno : 0);
    ASK(epoll_ctl, A(3), 0, poller, EPOLL_CTL_DEL, fd, AT(&event));
    /* The program goes on as before. */
    SHOW(write(fd, "x", 1));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    put(fd, "+1234567890");
    drain(fd);
}
