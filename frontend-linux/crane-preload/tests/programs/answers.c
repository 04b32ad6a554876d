/* Refusals of calls, and how; long messages; calls that do not come by libc's own functions. */
#include "corners.h"

#include <arpa/inet.h>
#include <linux/futex.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int port;

static void *write_later(void *end) {
    usleep(10000);
    return (void *)write(*(int *)end, "x", 1);
}

/* ---- refusals ---- */

static int signals;

static void count(int number) {
    signals++;
}

static int listener_at(int at) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(at)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    CHECK(!setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    CHECK(!bind(listener, (struct sockaddr *)&any, sizeof any) && !listen(listener, 5));
    return listener;
}

static void files(void) {
    char name[] = "/tmp/corners-XXXXXX";
    int file = mkstemp(name), both[2], place = open("/tmp", O_PATH);
    int socket_ = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(file >= 0 && !unlink(name) && !pipe(both) && place >= 0 && !ftruncate(file, 5000));
    CHECK(!fsync(file) && !fdatasync(file) && !syncfs(file) && !sync_file_range(file, 0, 0, 2));
    CHECK(fsync(9999) == -1 && errno == EBADF && fdatasync(9999) == -1 && errno == EBADF);
    CHECK(syncfs(9999) == -1 && errno == EBADF && fsync(place) == -1 && errno == EBADF);
    CHECK(fsync(both[0]) == -1 && errno == EINVAL && fdatasync(both[1]) == -1 && errno == EINVAL);
    CHECK(fsync(socket_) == -1 && errno == EINVAL && !syncfs(both[0]));
    CHECK(sync_file_range(9999, 0, 0, 2) == -1 && errno == EBADF);
    CHECK(sync_file_range(file, -1, 0, 2) == -1 && errno == EINVAL);
    CHECK(sync_file_range(both[0], 0, 0, 2) == -1 && errno == ESPIPE);
    char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
    CHECK(page != MAP_FAILED && !msync(page, 4096, MS_SYNC));
    CHECK(msync(page + 1, 1, MS_SYNC) == -1 && errno == EINVAL);
    CHECK(!munmap(page, 4096) && msync(page, 4096, MS_SYNC) == -1 && errno == ENOMEM);
    CHECK(close_range(5, 4, 0) == -1 && errno == EINVAL);
    int random = open("/dev/urandom", O_RDONLY), sink = open("/dev/urandom", O_WRONLY);
    CHECK(write(random, "x", 1) == -1 && errno == EBADF && write(sink, "x", 1) == 1);
    CHECK(read(sink, name, 1) == -1 && errno == EBADF && read(random, name, 2) == 2);
    CHECK(!close(file) && fsync(file) == -1 && errno == EBADF);
}

/* A device that is full is so on all replicas: the program sees it. */
static void full_device(void) {
    int device = open("/dev/full", O_WRONLY);
    CHECK(write(device, "x", 1) == -1 && errno == ENOSPC);
    CHECK(pwrite(device, "x", 1, 0) == -1 && errno == ENOSPC);
    FILE *stream = fdopen(device, "w");
    CHECK(stream && fputs("a line", stream) >= 0 && fflush(stream) == EOF && errno == ENOSPC);
    CHECK(fwrite("a line", 1, 6, stream) == 6 && fclose(stream) == EOF && errno == ENOSPC);
    CHECK(fcntl(device, F_GETFD) == -1 && errno == EBADF);
}

/* A limit of a file's length ends a write earlier, with a signal for the next one alone. */
static void short_writes(void) {
    char name[] = "/tmp/short-XXXXXX", bytes[100] = {0};
    struct rlimit before, limit;
    struct iovec pieces[2] = {{bytes, 50}, {bytes, 50}};
    int file = mkstemp(name);
    CHECK(file >= 0 && !unlink(name) && !getrlimit(RLIMIT_FSIZE, &before));
    limit = (struct rlimit){40, before.rlim_max};
    CHECK(!setrlimit(RLIMIT_FSIZE, &limit) && signal(SIGXFSZ, count) != SIG_ERR);
    CHECK(write(file, bytes, 100) == 40 && pwrite(file, bytes, 100, 10) == 30 && signals == 0);
    CHECK(lseek(file, 0, SEEK_SET) == 0 && writev(file, pieces, 2) == 40 && signals == 0);
    CHECK(pwritev(file, pieces, 2, 30) == 10 && signals == 0);
    CHECK(write(file, bytes, 1) == -1 && errno == EFBIG && signals == 1);
    CHECK(!setrlimit(RLIMIT_FSIZE, &before) && write(file, bytes, 100) == 100 && !close(file));
    signals = 0;
}

static void broken_pipes(void) {
    int both[2];
    signal(SIGPIPE, count);
    CHECK(!pipe(both) && !close(both[0]));
    CHECK(write(both[1], "x", 1) == -1 && errno == EPIPE && signals == 1 && !close(both[1]));
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, both) && !close(both[0]));
    CHECK(write(both[1], "x", 1) == -1 && errno == EPIPE && signals == 2);
    static char much[5000];
    CHECK(send(both[1], much, sizeof much, MSG_NOSIGNAL) == -1 && errno == EPIPE && signals == 2);
}

static void sockets(void) {
    int listener = listener_at(0), value = 0, alone = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at;
    struct tcp_info info;
    socklen_t length = -1;
    CHECK(getsockname(listener, (struct sockaddr *)&at, &length) == -1 && errno == EINVAL);
    CHECK(ioctl(listener, FIONREAD, &value) == -1 && errno == EINVAL);
    CHECK(accept4(listener, NULL, NULL, 0x12345) == -1 && errno == EINVAL);
    CHECK(shutdown(listener, 99) == -1 && errno == EINVAL);
    CHECK(shutdown(alone, 99) == -1 && errno == EINVAL);
    CHECK(shutdown(alone, SHUT_WR) == -1 && errno == ENOTCONN);
    length = sizeof info;
    CHECK(!getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &length));
    CHECK(info.tcpi_state == TCP_LISTEN);
    /* Without a free number nobody waits. */
    struct rlimit limit, few;
    CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
    few = (struct rlimit){.rlim_cur = 64, .rlim_max = limit.rlim_max};
    CHECK(!setrlimit(RLIMIT_NOFILE, &few));
    while (dup(0) >= 0) {}
    CHECK(accept(listener, NULL, NULL) == -1 && errno == EMFILE);
    CHECK(!fcntl(listener, F_SETFL, O_NONBLOCK));
    CHECK(accept(listener, NULL, NULL) == -1 && errno == EMFILE);
    CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
    CHECK(accept(listener, NULL, NULL) == -1 && errno == EAGAIN);
}

static void clocks(void) {
    struct timespec now;
    clockid_t clock;
    CHECK(!clock_getcpuclockid(0, &clock) && clock < 0 && !clock_gettime(clock, &now));
    CHECK(!pthread_getcpuclockid(pthread_self(), &clock) && !clock_gettime(clock, &now));
    /* The processor time of a process that does not exist, and clocks that do not. */
    CHECK(clock_gettime((~0x3ffffff << 3) | 2, &now) == -1 && errno == EINVAL);
    CHECK(clock_gettime(10, &now) == -1 && errno == EINVAL);
    CHECK(clock_gettime(99, &now) == -1 && errno == EINVAL);
}

static int tried(int family, const char *text, int at, int option) {
    int listener = socket(family, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(at)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(at)};
    if (option == SO_REUSEPORT) CHECK(!setsockopt(listener, SOL_SOCKET, option, &on, sizeof on));
    if (option == IPV6_V6ONLY) CHECK(!setsockopt(listener, IPPROTO_IPV6, option, &on, sizeof on));
    CHECK(inet_pton(family, text, family == AF_INET ? (void *)&four.sin_addr
                                                    : (void *)&six.sin6_addr) == 1);
    int result = family == AF_INET ? bind(listener, (struct sockaddr *)&four, sizeof four)
                                   : bind(listener, (struct sockaddr *)&six, sizeof six);
    int error = result ? errno : listen(listener, 4) ? errno : 0;
    if (error) CHECK(!close(listener));
    return error ? -error : listener;
}

static void addresses(void) {
    struct sockaddr_in own;
    socklen_t length = sizeof own;
    int any = tried(AF_INET, "127.0.0.1", 0, 0);
    CHECK(!getsockname(any, (struct sockaddr *)&own, &length));
    int at = ntohs(own.sin_port);
    int nine = tried(AF_INET, "127.0.0.9", at, 0);
    CHECK(nine > 0 && tried(AF_INET, "127.0.0.9", at, 0) == -EADDRINUSE);
    CHECK(tried(AF_INET, "0.0.0.0", at, 0) == -EADDRINUSE);
    CHECK(tried(AF_INET, "0.0.0.0", at, SO_REUSEPORT) == -EADDRINUSE);
    CHECK(tried(AF_INET, "192.0.2.77", at, 0) == -EADDRNOTAVAIL);
    CHECK(tried(AF_INET6, "::", at, 0) == -EADDRINUSE);
    int six = tried(AF_INET6, "::", at, IPV6_V6ONLY);
    CHECK(six > 0 && !close(six) && !close(nine) && !close(any));
    int one = tried(AF_INET, "0.0.0.0", at, SO_REUSEPORT);
    int two = tried(AF_INET, "0.0.0.0", at, SO_REUSEPORT);
    CHECK(one > 0 && two > 0 && tried(AF_INET, "0.0.0.0", at, 0) == -EADDRINUSE);
    CHECK(!close(one) && !close(two));
}

static void refusals(void) {
    files();
    full_device();
    short_writes();
    broken_pipes();
    sockets();
    clocks();
}

/* ---- messages: the test's client does its part, see answers.rs ---- */

static unsigned char bytes[1 << 20];
static unsigned long at;

static void are_next(size_t length) {
    for (size_t i = 0; i < length; i++) CHECK(bytes[i] == (at + i) % 251);
    at += length;
}

static void message(int conn, size_t length) {
    memset(bytes, 255, length);
    CHECK(recv(conn, bytes, length, MSG_WAITALL) == (ssize_t)length);
    are_next(length);
}

static void messages(void) {
    size_t lengths[] = {1, 2, 100, 4096, 65536, 29524, 88573, 70000, 1 << 20, 3, 65537};
    int listener = listener_at(port), value = 0;
    socklen_t length = sizeof value;
    printf("listening\n");
    fflush(stdout);
    int conn = accept(listener, NULL, NULL);
    CHECK(!getsockopt(conn, SOL_SOCKET, SO_REUSEADDR, &value, &length) && value);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) message(conn, lengths[i]);
    /* Into parts, the first of which is full at once. */
    struct iovec parts[] = {{bytes, 10}, {NULL, 0}, {bytes + 10, 99990}};
    struct msghdr header = {.msg_iov = parts, .msg_iovlen = 3};
    CHECK(recvmsg(conn, &header, MSG_WAITALL) == 100000);
    are_next(100000);
    /* Looked at, dropped without a place, and not touched. */
    CHECK(recv(conn, bytes, 40000, MSG_PEEK | MSG_WAITALL) == 40000);
    are_next(40000);
    CHECK(recv(conn, NULL, 200000, MSG_TRUNC | MSG_WAITALL) == 200000);
    at += 200000 - 40000;
    memset(bytes, 255, 10);
    CHECK(recv(conn, bytes, 3, MSG_TRUNC) == 3 && bytes[0] == 255);
    CHECK(recv(conn, bytes, 3, MSG_TRUNC | MSG_PEEK | MSG_WAITALL) == 3 && bytes[0] == 255);
    at += 3;
    CHECK(recv(conn, bytes, 4, MSG_OOB) == -1 && errno == EINVAL);
    CHECK(recv(conn, bytes, 4, MSG_ERRQUEUE) == -1 && errno == EAGAIN);
    /* The limit ends a wait with what has come; so does the end. */
    struct timeval limit = {0, 20000}, none = {0, 0};
    CHECK(!setsockopt(conn, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    CHECK(recv(conn, bytes, 10, MSG_WAITALL) == 4);
    are_next(4);
    CHECK(!setsockopt(conn, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none));
    volatile int negative = -1;
    CHECK(writev(conn, parts, negative) == -1 && errno == EINVAL);
    static struct iovec many[1025];
    CHECK(writev(conn, many, 1025) == -1 && errno == EINVAL && writev(conn, many, 1024) == 0);
    CHECK(readv(conn, many, 1025) == -1 && errno == EINVAL && readv(conn, many, 0) == 0);
    header = (struct msghdr){.msg_iov = many, .msg_iovlen = 1025};
    CHECK(sendmsg(conn, &header, 0) == -1 && errno == EMSGSIZE);
    struct tcp_info info;
    length = sizeof info;
    CHECK(!getsockopt(conn, IPPROTO_TCP, TCP_INFO, &info, &length));
    CHECK(info.tcpi_state == TCP_ESTABLISHED);
    CHECK(shutdown(conn, 99) == -1 && errno == EINVAL);
    CHECK(write(conn, "more", 4) == 4 && recv(conn, bytes, 10, MSG_WAITALL) == 5);
    are_next(5);
    CHECK(!close(conn));
    /* Neither reads nor writes any more. */
    struct pollfd set = {.events = POLLIN | POLLOUT | POLLRDHUP};
    CHECK((set.fd = accept(listener, NULL, NULL)) >= 0);
    CHECK(!shutdown(set.fd, SHUT_RD) && poll(&set, 1, 0) == 1);
    CHECK(set.revents == (POLLIN | POLLOUT | POLLRDHUP) && recv(set.fd, bytes, 1, 0) == 0);
    CHECK(!shutdown(set.fd, SHUT_WR) && poll(&set, 1, 0) == 1 && set.revents & POLLHUP);
    CHECK(!close(set.fd) && !close(listener));
}

/* ---- calls by their numbers, and formatted ones ---- */

static unsigned word, other;

static long futex(unsigned *at, int operation, unsigned value, void *limit, unsigned *to,
                  unsigned last) {
    return syscall(SYS_futex, at, operation | FUTEX_PRIVATE_FLAG, value, limit, to, last);
}

/* Waits for the bits of its argument until the word changes, and says how often it was woken. */
static void *wait_for_change(void *bits) {
    unsigned before = __atomic_load_n(&word, __ATOMIC_SEQ_CST);
    long result = futex(&word, FUTEX_WAIT_BITSET, before, NULL, NULL, (unsigned)(long)bits);
    return (void *)(result ? -1L : (long)bits);
}

static void *read_one(void *end) {
    char byte;
    return (void *)syscall(SYS_read, *(int *)end, &byte, 1);
}

static void futexes(void) {
    struct timespec limit = {0, 5 * MS}, end = in(CLOCK_MONOTONIC, 5 * MS);
    long long before = now(CLOCK_MONOTONIC);
    CHECK(futex(&word, FUTEX_WAIT, 7, NULL, NULL, 0) == -1 && errno == EAGAIN);
    CHECK(futex(&word, FUTEX_WAIT, 0, &limit, NULL, 0) == -1 && errno == ETIMEDOUT);
    CHECK(now(CLOCK_MONOTONIC) - before >= 5 * MS);
    CHECK(futex(&word, FUTEX_WAIT_BITSET, 0, &end, NULL, 1) == -1 && errno == ETIMEDOUT);
    CHECK(futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0) == -1 && errno == EINVAL);
    limit.tv_nsec = -1;
    CHECK(futex(&word, FUTEX_WAIT, 0, &limit, NULL, 0) == -1 && errno == EINVAL);
    CHECK(futex(&word, FUTEX_WAKE, 9, NULL, NULL, 0) == 0);
    CHECK(futex((unsigned *)((char *)&word + 1), FUTEX_WAKE, 1, NULL, NULL, 0) == -1);
    CHECK(errno == EINVAL);
    pthread_t two = begin(wait_for_change, (void *)2), four = begin(wait_for_change, (void *)4);
    usleep(50000);
    CHECK(futex(&word, FUTEX_WAKE_BITSET, 9, NULL, NULL, 8) == 0);
    CHECK(futex(&word, FUTEX_WAKE_BITSET, 9, NULL, NULL, 4) == 1);
    CHECK(result_of(four) == (void *)4);
    CHECK(futex(&word, FUTEX_CMP_REQUEUE, 0, (void *)9, &other, 1) == -1 && errno == EAGAIN);
    CHECK(futex(&word, FUTEX_CMP_REQUEUE, 0, (void *)9, &other, 0) == 1);
    CHECK(futex(&word, FUTEX_WAKE, 9, NULL, NULL, 0) == 0);
    CHECK(futex(&other, FUTEX_WAKE, 9, NULL, NULL, 0) == 1 && result_of(two) == (void *)2);
}

static void numbers(void) {
    int both[2], tubes[2];
    char text[64] = "";
    struct timespec one, two;
    futexes();
    CHECK(syscall(SYS_gettid) == gettid() && syscall(SYS_getpid) == getpid());
    CHECK(syscall(SYS_getrandom, text, 8L, 0) == 8 && syscall(500) == -1 && errno == ENOSYS);
    CHECK(!clock_gettime(CLOCK_REALTIME, &one) && !syscall(SYS_clock_gettime, 0, &two));
    CHECK(two.tv_sec - one.tv_sec <= 1 && two.tv_sec >= one.tv_sec);
    CHECK(syscall(SYS_clock_nanosleep, 99, 0, &one, NULL) == -1 && errno == EINVAL);
    int process = syscall(SYS_pidfd_open, getpid(), 0);
    CHECK(process >= 0 && !close(process));
    CHECK(!syscall(SYS_pipe2, both, 0) && !pipe(tubes));
    pthread_t reader = begin(read_one, &both[0]);
    usleep(50000);
    CHECK(syscall(SYS_write, both[1], "x", 1) == 1 && result_of(reader) == (void *)1);
    CHECK(dprintf(both[1], "%d %.1f %s %d %d %d %d\n", 42, 2.5, "text", 1, 2, 3, 4) == 20);
    CHECK(read(both[0], text, 64) == 20 && !memcmp(text, "42 2.5 text 1 2 3 4\n", 20));
    CHECK(write(both[1], "spliced", 7) == 7);
    CHECK(tee(both[0], tubes[1], 99, 0) == 7 && read(tubes[0], text, 64) == 7);
    CHECK(splice(both[0], NULL, tubes[1], NULL, 99, 0) == 7 && read(tubes[0], text, 64) == 7);
    CHECK(splice(both[0], NULL, tubes[1], NULL, 1, SPLICE_F_NONBLOCK) == -1 && errno == EAGAIN);
    pthread_t writer = begin(write_later, &both[1]);
    CHECK(splice(both[0], NULL, tubes[1], NULL, 1, 0) == 1 && result_of(writer) == (void *)1);
    CHECK(!syscall(SYS_close, both[0]) && write(both[1], "x", 1) == -1 && errno == EPIPE);
}

/* ---- a connection by numbers: the test's client sends "ab", and "c" after an answer ---- */

static void direct(void) {
    int listener = listener_at(port), both[2];
    char bytes[8] = "";
    printf("listening\n");
    fflush(stdout);
    int conn = syscall(SYS_accept4, listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(conn >= 0 && fcntl(conn, F_GETFD) == FD_CLOEXEC);
    CHECK(syscall(SYS_recvfrom, conn, bytes, 2, MSG_WAITALL, NULL, NULL) == 2);
    CHECK(!memcmp(bytes, "ab", 2) && dprintf(conn, "%s %d\n", "number", 42) == 10);
    struct pollfd set = {conn, POLLIN, 0};
    CHECK(syscall(SYS_poll, &set, 1, -1) == 1 && syscall(SYS_read, conn, bytes, 8) == 1);
    CHECK(syscall(SYS_write, conn, "+", 1) == 1);
    CHECK(syscall(SYS_sendto, conn, "-\n", 2, MSG_NOSIGNAL, NULL, 0) == 2);
    CHECK(!pipe(both) && sendfile(conn, both[0], NULL, 1) == -1 && errno == EINVAL);
    CHECK(!syscall(SYS_shutdown, conn, SHUT_WR) && !syscall(SYS_close, conn));
    CHECK(fcntl(conn, F_GETFD) == -1 && !close(listener));
}

/* ---- children ---- */

/* Returns this host's time in seconds, which no hook sees. */
static time_t time_natively(void) {
    struct timespec now;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_clock_gettime), "D"(CLOCK_MONOTONIC), "S"(&now)
                     : "rcx", "r11", "memory");
    CHECK(result == 0);
    return now.tv_sec;
}

static pthread_mutex_t in_child = PTHREAD_MUTEX_INITIALIZER;

/* A child takes no part, in a handler that runs before fork(2) returns either. */
static void lock_often(void) {
    for (int i = 0; i < 20000; i++)
        CHECK(!pthread_mutex_lock(&in_child) && !pthread_mutex_unlock(&in_child));
}

static void children(void) {
    CHECK(!pthread_atfork(NULL, NULL, lock_often));
    pid_t first = fork();
    if (first == 0) _exit(7);
    int first_status;
    CHECK(waitpid(first, &first_status, 0) == first && WEXITSTATUS(first_status) == 7);
    int ends[2], status;
    char text[64] = "", *names[] = {"WORD=odd", NULL};
    char *arguments[] = {"sh", "-c", "sleep 0.05; echo $WORD; exit 9", NULL};
    pid_t child;
    posix_spawn_file_actions_t actions;
    CHECK(!pipe2(ends, O_CLOEXEC) && !posix_spawn_file_actions_init(&actions));
    CHECK(!posix_spawn_file_actions_adddup2(&actions, ends[1], 1));
    CHECK(!posix_spawn(&child, "/bin/sh", &actions, NULL, arguments, names) && !close(ends[1]));
    CHECK(read(ends[0], text, sizeof text) == 4 && !memcmp(text, "odd\n", 4));
    CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 9);
    CHECK(posix_spawn(&child, "/does/not/exist", NULL, NULL, arguments, names) == ENOENT);
    CHECK(!posix_spawnp(&child, "true", NULL, NULL, (char *[]){"true", NULL}, names));
    CHECK(waitpid(child, &status, 0) == child && system("exit 3") == 3 << 8);
    FILE *from = popen("echo words", "r");
    CHECK(fgets(text, sizeof text, from) && !strcmp(text, "words\n") && !pclose(from));
}

static volatile int outlived_all;

static void *interrupt(void *waiter) {
    while (!outlived_all) {
        usleep(1000);
        pthread_kill(*(pthread_t *)waiter, SIGUSR1);
    }
    return NULL;
}

/* The other threads run while a child runs for long, however often one of them waits for it. */
static void outlived(void) {
    enum { WAITS = 16 };
    struct sigaction action = {.sa_handler = count};
    pthread_t self = pthread_self();
    time_t start = time_natively();
    int status;
    pid_t child = fork();
    if (child == 0) for (;;) pause();
    CHECK(child > 0 && !sigaction(SIGUSR1, &action, NULL));
    pthread_t thread = begin(interrupt, &self);
    for (int i = 0; i < WAITS; i++)
        CHECK(waitpid(child, &status, 0) == -1 && errno == EINTR);
    outlived_all = 1;
    result_of(thread);
    CHECK(!kill(child, SIGKILL) && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    /* Each wait alone may hold them for half a second. */
    CHECK(time_natively() - start < WAITS / 4);
}

/* A child that would serve by a listener of its own. */
static void child_listens(void) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        listener_at(port);
        _exit(0);
    }
    waitpid(child, &status, 0);
    printf("child %d\n", WEXITSTATUS(status));
}

static void shared_locks(void) {
    pthread_mutexattr_t attributes;
    CHECK(!pthread_mutexattr_init(&attributes));
    CHECK(!pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_PRIVATE));
    printf("private\n");
    CHECK(!pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED));
}

static const struct probe probes[] = {
    {"children", children}, {"child-listens", child_listens}, {"shared", shared_locks},
    {"addresses", addresses}, {"outlived", outlived},
    {"refusals", refusals}, {"messages", messages}, {"numbers", numbers}, {"direct", direct},
};

int main(int count, char **arguments) {
    if (count > 2) port = atoi(arguments[2]);
    return count < 2 ? 2 : run_probe(arguments[1], probes, sizeof probes / sizeof *probes);
}
