// kind: calls about descriptors with bad arguments, by number, by an instruction and in a handler
#include "odd.h"
#include <sys/inotify.h>

static char space[256];
static struct iovec one = {space, sizeof space};
static struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
static struct mmsghdr messages[1];
static struct sockaddr_in address = {.sin_family = AF_INET};
static socklen_t length = sizeof address;
static struct epoll_event event;
static struct itimerspec timer;
static struct pollfd polled;
static struct timespec none, never = {.tv_nsec = -1};
static struct stat status;

/* Tries each call with a descriptor that is not open, or is one of a file. */
static void try_all(const char *way, long bad) {
    const struct attempt all[] = {
        TRY(read, bad, AT(space), 1), TRY(write, bad, AT(space), 0),
        TRY(readv, bad, AT(&one), 1), TRY(writev, bad, AT(&one), 0),
        TRY(pread64, bad, AT(space), 1, -1), TRY(pwrite64, bad, AT(space), 1, -1),
        TRY(preadv, bad, AT(&one), 1, -1, -1), TRY(pwritev, bad, AT(&one), 1, -1, -1),
        TRY(preadv2, bad, AT(&one), 1, 0, 0, 1 << 20), TRY(lseek, bad, 0, 77),
        TRY(dup2, bad, -1), TRY(dup3, bad, bad, 0), TRY(dup3, bad, 900, 1),
        TRY(fcntl, bad, 9999), TRY(fcntl, bad, F_DUPFD, -1), TRY(ioctl, bad, 0x7777, 0),
        TRY(ftruncate, bad, -1), TRY(fallocate, bad, 0, -1, 1), TRY(fadvise64, bad, 0, 0, 77),
        TRY(fstat, bad, AT(&status)), TRY(getdents64, bad, AT(space), 1),
        TRY(fchdir, bad), TRY(fchmod, bad, 0600), TRY(fchown, bad, -1, -1),
        TRY(flock, bad, 77), TRY(sync_file_range, bad, -1, 1, 0), TRY(readahead, bad, 0, 1),
        TRY(sendfile, bad, bad, 0, 1), TRY(splice, bad, 0, bad, 0, 1, 0),
        TRY(tee, bad, bad, 1, 0), TRY(vmsplice, bad, AT(&one), 1, 0),
        TRY(copy_file_range, bad, 0, bad, 0, 1, 1),
        TRY(bind, bad, AT(&address), sizeof address), TRY(listen, bad, 1),
        TRY(accept, bad, 0, 0), TRY(accept4, bad, 0, 0, 0), TRY(accept4, bad, 0, 0, 1),
        TRY(connect, bad, AT(&address), sizeof address), TRY(shutdown, bad, SHUT_RDWR),
        TRY(getsockname, bad, AT(&address), AT(&length)),
        TRY(getpeername, bad, AT(&address), AT(&length)),
        TRY(setsockopt, bad, SOL_SOCKET, SO_REUSEADDR, AT(space), 4),
        TRY(getsockopt, bad, SOL_SOCKET, SO_TYPE, AT(space), AT(&length)),
        TRY(recvfrom, bad, AT(space), 1, 0, 0, 0), TRY(sendto, bad, AT(space), 1, 0, 0, 0),
        TRY(recvmsg, bad, AT(&message), 0), TRY(sendmsg, bad, AT(&message), 0),
        TRY(recvmmsg, bad, AT(messages), 1, 0, 0), TRY(sendmmsg, bad, AT(messages), 1, 0),
        TRY(epoll_ctl, bad, EPOLL_CTL_ADD, 0, AT(&event)),
        TRY(epoll_wait, bad, AT(&event), 1, 0), TRY(epoll_pwait, bad, AT(&event), 1, 0, 0, 8),
        TRY(timerfd_settime, bad, 0, AT(&timer), 0), TRY(timerfd_gettime, bad, AT(&timer)),
        TRY(inotify_add_watch, bad, AT("/"), IN_OPEN), TRY(inotify_rm_watch, bad, 1),
        TRY(fgetxattr, bad, AT("user.none"), AT(space), 1), TRY(flistxattr, bad, AT(space), 0),
        TRY(fremovexattr, bad, AT("user.none")),
        TRY(mq_timedsend, bad, AT(space), 1, 0, 0), TRY(mq_timedreceive, bad, AT(space), 1, 0, 0),
    };
    for (size_t at = 0; at < sizeof all / sizeof *all; at++)
        show_attempt(way, &all[at], *way == 'i' ? by_instruction(&all[at]) : by_number(&all[at]));
}

/* Asks the calls that make descriptors for kinds and flags that do not exist. */
static void make_none(const char *way) {
    const struct attempt all[] = {
        TRY(pipe2, AT(space), 1), TRY(eventfd2, 0, 2), TRY(epoll_create, 0),
        TRY(epoll_create1, 1), TRY(timerfd_create, 77, 0), TRY(timerfd_create, 1, 1),
        TRY(inotify_init1, 1), TRY(memfd_create, AT("name"), 1 << 20),
        TRY(socket, 77, 1, 0), TRY(socket, AF_INET, 77, 0), TRY(socket, AF_INET, 1, 77),
        TRY(socketpair, AF_INET, SOCK_STREAM, 0, AT(space)),
        TRY(socketpair, AF_UNIX, 77, 0, AT(space)), TRY(close_range, 9, 8, 0),
        TRY(close_range, 900, 901, 64), TRY(openat, -1, AT("none"), 0),
        TRY(openat, AT_FDCWD, AT("none"), O_DIRECTORY), TRY(open, AT("/none/none"), 0),
        TRY(creat, AT("/none/none"), 0600), TRY(creat, AT("/"), 0600),
        TRY(poll, AT(&polled), 1ul << 40, 0), TRY(ppoll, AT(&polled), 0, AT(&none), 0, 8),
        TRY(select, -1, 0, 0, 0, AT(&none)), TRY(pselect6, -1, 0, 0, 0, AT(&none), 0),
        TRY(getrandom, AT(space), 1, 77), TRY(nanosleep, AT(&never), 0),
        TRY(clock_nanosleep, 77, 0, AT(&none), 0), TRY(clock_gettime, 77, AT(&none)),
        TRY(getitimer, 77, AT(space)), TRY(setitimer, 77, AT(space), 0),
    };
    for (size_t at = 0; at < sizeof all / sizeof *all; at++)
        show_attempt(way, &all[at], *way == 'i' ? by_instruction(&all[at]) : by_number(&all[at]));
}

static int file;

static void in_handler(int signal) {
    (void)signal;
    try_all("number in handler", -1);
    make_none("instruction in handler");
}

static void odd(void) {
    char name[] = "calls-XXXXXX";
    const char *ways[] = {"number", "instruction"};
    MUST((file = mkstemp(name)) >= 0 && unlink(name) == 0);
    MUST(write(file, "text", 4) == 4);
    for (int way = 0; way < 2; way++) {
        try_all(ways[way], -1);
        try_all(ways[way], 901);
        make_none(ways[way]);
    }
    try_all("number of a file", file);
    MUST(signal(SIGUSR1, in_handler) != SIG_ERR);
    MUST(raise(SIGUSR1) == 0);
}
