/* What calls refuse, and how; long messages; calls that do not come by libc's own functions. */
#include "corners.h"

#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/resource.h>

static int port;

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

static void refusals(void) {
    files();
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

static const struct probe probes[] = {{"refusals", refusals}, {"messages", messages}};

int main(int count, char **arguments) {
    if (count > 2) port = atoi(arguments[2]);
    return count < 2 ? 2 : run_probe(arguments[1], probes, sizeof probes / sizeof *probes);
}
