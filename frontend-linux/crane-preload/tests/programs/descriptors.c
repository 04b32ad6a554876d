/* Corners of pipes, numbers of descriptors, readiness, and connections. */
#include "corners.h"

/* ---- pipes, socket pairs, eventfds ---- */

static void *write_much(void *end) {
    static char bytes[1 << 20];
    return (void *)write(*(int *)end, bytes, sizeof bytes);
}

static void *read_slowly(void *end) {
    uint64_t value;
    usleep(10000);
    return (void *)(read(*(int *)end, &value, 8) == 8 ? value : 0);
}

static void pipes(void) {
    int both[2], flags = O_NONBLOCK | O_CLOEXEC, waiting = 0;
    static char bytes[1 << 16];
    CHECK(!pipe2(both, flags));
    CHECK(fcntl(both[0], F_GETFL) & O_NONBLOCK && fcntl(both[1], F_GETFD) == FD_CLOEXEC);
    CHECK(read(both[0], bytes, 1) == -1 && errno == EAGAIN);
    CHECK(write(both[1], "abc", 3) == 3 && !ioctl(both[0], FIONREAD, &waiting) && waiting == 3);
    CHECK(!close(both[0]) && write(both[1], "x", 1) == -1 && errno == EPIPE && !close(both[1]));
    CHECK(!pipe(both));
    pthread_t writer = begin(write_much, &both[1]);
    size_t length = 0;
    while (length < 1 << 20) {
        ssize_t part = read(both[0], bytes, sizeof bytes);
        CHECK(part > 0);
        length += part;
    }
    CHECK((long)result_of(writer) == 1 << 20);
    CHECK(!close(both[1]) && read(both[0], bytes, 1) == 0 && !close(both[0]));

    CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both));
    CHECK(recv(both[0], bytes, 1, 0) == -1 && errno == EAGAIN);
    CHECK(fcntl(both[0], F_GETFD) == FD_CLOEXEC);
    CHECK(send(both[1], "xyz", 3, MSG_NOSIGNAL) == 3);
    CHECK(recv(both[0], bytes, 2, MSG_PEEK) == 2 && recv(both[0], bytes, 9, 0) == 3);
    CHECK(!shutdown(both[1], SHUT_WR) && recv(both[0], bytes, 1, 0) == 0);
    CHECK(send(both[0], "back", 4, 0) == 4 && recv(both[1], bytes, 9, 0) == 4);
    CHECK(!close(both[0]) && !close(both[1]));
    CHECK(!socketpair(AF_UNIX, SOCK_DGRAM, 0, both) && write(both[0], "one", 3) == 3);
    CHECK(write(both[0], "two", 3) == 3 && read(both[1], bytes, 9) == 3);
    struct timeval limit = {0, 5000};
    CHECK(!setsockopt(both[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    CHECK(recv(both[0], bytes, 1, 0) == -1 && errno == EAGAIN);
    CHECK(!close(both[0]) && !close(both[1]));

    int event = eventfd(2, EFD_SEMAPHORE | EFD_CLOEXEC);
    uint64_t value = 0, most = UINT64_MAX - 1;
    CHECK(read(event, &value, 8) == 8 && value == 1 && read(event, &value, 8) == 8);
    pthread_t reader = begin(read_slowly, &event);
    CHECK(!eventfd_write(event, 1) && result_of(reader) == (void *)1);
    reader = begin(read_slowly, &event); /* waits before there is anything */
    usleep(20000);
    CHECK(!eventfd_write(event, 7) && result_of(reader) == (void *)1 && !close(event));
    event = eventfd(0, EFD_NONBLOCK);
    CHECK(write(event, &most, 8) == 8 && write(event, &most, 8) == -1 && errno == EAGAIN);
    CHECK(read(event, &value, 4) == -1 && errno == EINVAL && !close(event));
}

/* ---- descriptors ---- */

static void duplicates(void) {
    int one[2], two[2];
    char bytes[8];
    CHECK(!pipe(one) && !pipe(two));
    /* The pipe's only reading end is replaced: its writer is told. */
    CHECK(dup2(two[0], one[0]) == one[0]);
    CHECK(write(one[1], "x", 1) == -1 && errno == EPIPE);
    CHECK(write(two[1], "abc", 3) == 3);
    CHECK(read(one[0], bytes, 1) == 1 && read(two[0], bytes, 1) == 1);
    CHECK(dup2(one[0], one[0]) == one[0] && dup3(one[0], one[0], 0) == -1 && errno == EINVAL);
    CHECK(!close(two[0]) && read(one[0], bytes, 8) == 1);
    int high = fcntl(one[0], F_DUPFD_CLOEXEC, 100);
    CHECK(high >= 100 && fcntl(high, F_GETFD) == FD_CLOEXEC && !close(one[0]));
    /* O_NONBLOCK belongs to the description. */
    CHECK((one[0] = dup(high)) >= 0 && !fcntl(one[0], F_SETFL, O_NONBLOCK));
    CHECK(read(high, bytes, 1) == -1 && errno == EAGAIN);
    CHECK(dup2(high, 1000) == 1000 && write(two[1], "y", 1) == 1 && read(1000, bytes, 1) == 1);
    CHECK(dup2(9999, 1000) == -1 && errno == EBADF && fcntl(1000, F_GETFD) == 0);
    CHECK(close(9999) == -1 && errno == EBADF);
    int plain = open("/dev/null", O_WRONLY);
    CHECK(dup2(plain, 1000) == 1000 && write(1000, "z", 1) == 1 && !close(plain) && !close(1000));
    CHECK(!close(high) && !close(one[0]));
    CHECK(write(two[1], "x", 1) == -1 && errno == EPIPE);
}

/* ---- readiness ---- */

static void *write_later(void *end) {
    usleep(10000);
    return (void *)write(*(int *)end, "x", 1);
}

static void polls(void) {
    int both[2];
    CHECK(!pipe(both));
    struct pollfd set[] = {{.fd = both[0], .events = POLLIN | POLLRDNORM},
                           {.fd = both[1], .events = POLLOUT | POLLWRNORM},
                           {.fd = -1, .events = POLLIN, .revents = 77},
                           {.fd = 900, .events = POLLIN}};
    CHECK(poll(set, 4, 0) == 2 && !set[0].revents && set[2].revents == 0);
    CHECK(set[1].revents == (POLLOUT | POLLWRNORM) && set[3].revents == POLLNVAL);
    long long before = now(CLOCK_MONOTONIC);
    CHECK(poll(NULL, 0, 10) == 0 && poll(set, 1, 10) == 0);
    CHECK(!select(0, NULL, NULL, NULL, &(struct timeval){0, 10000}));
    CHECK(now(CLOCK_MONOTONIC) - before >= 30 * MS);
    pthread_t writer = begin(write_later, &both[1]);
    CHECK(poll(set, 1, -1) == 1 && set[0].revents == (POLLIN | POLLRDNORM));
    result_of(writer);
    struct timespec limit = {0, 5 * MS};
    sigset_t none;
    sigemptyset(&none);
    CHECK(ppoll(set, 1, NULL, &none) == 1 && ppoll(set, 1, &limit, NULL) == 1);
    CHECK(ppoll(set, 1, &wrong, NULL) == -1 && errno == EINVAL);
    fd_set reads, writes;
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    FD_SET(both[0], &reads);
    FD_SET(both[1], &writes);
    CHECK(select(both[1] + 1, &reads, &writes, NULL, NULL) == 2);
    CHECK(pselect(both[1] + 1, &reads, &writes, NULL, &limit, &none) == 2);
    CHECK(pselect(both[1] + 1, &reads, NULL, NULL, &wrong, NULL) == -1 && errno == EINVAL);
    CHECK(select(0, NULL, NULL, NULL, &(struct timeval){-1, 0}) == -1 && errno == EINVAL);
    int gone = dup(both[0]);
    CHECK(!close(gone));
    FD_SET(gone, &reads);
    CHECK(select(gone + 1, &reads, NULL, NULL, NULL) == -1 && errno == EBADF);
    CHECK(read(both[0], &reads, 1) == 1 && !close(both[1]));
    CHECK(poll(set, 1, -1) == 1 && set[0].revents == POLLHUP);
    CHECK(!close(both[0]));
}

static void *wait_in_epoll(void *epoll) {
    struct epoll_event event;
    return (void *)(long)epoll_wait(*(int *)epoll, &event, 1, 200);
}

static void epolls(void) {
    int epoll = epoll_create1(EPOLL_CLOEXEC), one[2], two[2];
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u32 = 1}, ready[4];
    CHECK(!pipe(one) && !pipe(two) && fcntl(epoll, F_GETFD) == FD_CLOEXEC);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, one[0], &event) == -1 && errno == ENOENT);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_DEL, one[0], NULL) == -1 && errno == ENOENT);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, 999, &event) == -1 && errno == EBADF);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll, &event) == -1 && errno == EINVAL);
    CHECK(epoll_ctl(one[0], EPOLL_CTL_ADD, one[1], &event) == -1 && errno == EINVAL);
    int file = open("/proc/self/exe", O_RDONLY);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event) == -1 && errno == EPERM && !close(file));
    CHECK(epoll_wait(epoll, ready, 0, 0) == -1 && errno == EINVAL);
    CHECK(!epoll_ctl(epoll, EPOLL_CTL_ADD, one[0], &event));
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, one[0], &event) == -1 && errno == EEXIST);
    CHECK(write(one[1], "a", 1) == 1 && epoll_wait(epoll, ready, 4, -1) == 1);
    CHECK(write(one[1], "b", 1) == 1 && epoll_wait(epoll, ready, 4, 0) == 0); /* one shot */
    CHECK(!epoll_ctl(epoll, EPOLL_CTL_MOD, one[0], &event) && epoll_wait(epoll, ready, 4, 0) == 1);

    /* Edges: one for each arrival, none for what lies there. */
    char byte[4];
    CHECK(read(one[0], byte, 4) == 2);
    event.events = EPOLLIN | EPOLLET;
    CHECK(!epoll_ctl(epoll, EPOLL_CTL_MOD, one[0], &event) && epoll_wait(epoll, ready, 4, 0) == 0);
    for (int i = 0; i < 3; i++) {
        CHECK(write(one[1], "c", 1) == 1 && epoll_wait(epoll, ready, 4, 1000) == 1);
        CHECK(ready[0].events == EPOLLIN && epoll_wait(epoll, ready, 4, 0) == 0);
        CHECK(i || read(one[0], byte, 1) == 1); /* once emptied, twice not */
    }
    CHECK(!epoll_ctl(epoll, EPOLL_CTL_MOD, one[0], &event) && epoll_wait(epoll, ready, 4, 0) == 1);

    /* Places for fewer than are ready: each gets its turn. */
    event = (struct epoll_event){.events = EPOLLIN, .data.u32 = 1};
    CHECK(!epoll_ctl(epoll, EPOLL_CTL_MOD, one[0], &event));
    event.data.u32 = 2;
    CHECK(!epoll_ctl(epoll, EPOLL_CTL_ADD, two[0], &event) && write(two[1], "d", 1) == 1);
    CHECK(epoll_wait(epoll, ready, 1, 0) == 1 && epoll_wait(epoll, ready + 1, 1, 0) == 1);
    CHECK(ready[0].data.u32 + ready[1].data.u32 == 3);

    /* An instance in another, and in poll. */
    int outer = epoll_create1(0);
    event.data.u32 = 9;
    CHECK(!epoll_ctl(outer, EPOLL_CTL_ADD, epoll, &event));
    CHECK(epoll_wait(outer, ready, 4, 0) == 1 && ready[0].data.u32 == 9);
    struct pollfd instance = {.fd = epoll, .events = POLLIN};
    CHECK(poll(&instance, 1, 0) == 1 && instance.revents == POLLIN);
    CHECK(read(one[0], byte, 4) == 2 && read(two[0], byte, 4) == 1);
    CHECK(epoll_wait(outer, ready, 4, 0) == 0 && poll(&instance, 1, 0) == 0);
    pthread_t writer = begin(write_later, &two[1]);
    CHECK(epoll_wait(outer, ready, 4, 2000) == 1 && ready[0].data.u32 == 9);
    result_of(writer);
    CHECK(read(two[0], byte, 4) == 1);
    writer = begin(write_later, &two[1]);
    CHECK(poll(&instance, 1, 2000) == 1);
    result_of(writer);
    CHECK(read(two[0], byte, 4) == 1 && !close(outer));

    /* A closed duplicate does not end the interest; the last one does. */
    int copy = dup(one[0]);
    CHECK(!close(copy) && write(one[1], "e", 1) == 1 && epoll_wait(epoll, ready, 4, 0) == 1);
    CHECK(!close(one[0]) && epoll_wait(epoll, ready, 4, 0) == 0);

    /* Exclusive: one of two sleepers is enough. */
    int other = epoll_create1(0), common = eventfd(0, EFD_NONBLOCK);
    epoll = epoll_create1(0);
    event.events = EPOLLIN | EPOLLEXCLUSIVE;
    CHECK(!epoll_ctl(epoll, EPOLL_CTL_ADD, common, &event));
    CHECK(!epoll_ctl(other, EPOLL_CTL_ADD, common, &event));
    CHECK(epoll_ctl(other, EPOLL_CTL_MOD, common, &event) == -1 && errno == EINVAL);
    pthread_t first = begin(wait_in_epoll, &epoll), second = begin(wait_in_epoll, &other);
    usleep(20000);
    CHECK(!eventfd_write(common, 1));
    CHECK((long)result_of(first) + (long)result_of(second) >= 1);
    long long before = now(CLOCK_MONOTONIC);
    struct timespec limit = {0, 5 * MS};
    int empty = epoll_create1(0);
    CHECK(epoll_pwait2(empty, ready, 4, &limit, NULL) == 0);
    CHECK(epoll_pwait(empty, ready, 4, 5, NULL) == 0);
    CHECK(now(CLOCK_MONOTONIC) - before >= 10 * MS);
}

/* ---- listeners ---- */

static int listening;

static void *accept_one(void *_) {
    return (void *)(long)(accept(listening, NULL, NULL) < 0 ? errno : 0);
}

static void listeners(void) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}, bound;
    socklen_t length = sizeof bound;
    char byte;
    listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    CHECK(accept(listening, NULL, NULL) == -1 && errno == EINVAL);
    CHECK(recv(listening, &byte, 1, 0) == -1 && errno == ENOTCONN);
    CHECK(!bind(listening, (struct sockaddr *)&any, sizeof any));
    CHECK(bind(listening, (struct sockaddr *)&any, sizeof any) == -1 && errno == EINVAL);
    CHECK(!listen(listening, 5) && !listen(listening, 10));
    CHECK(!getsockname(listening, (struct sockaddr *)&bound, &length) && bound.sin_port);
    CHECK(bound.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    CHECK(getpeername(listening, (struct sockaddr *)&bound, &length) == -1 && errno == ENOTCONN);
    int second = socket(AF_INET, SOCK_STREAM, 0), value = 0;
    CHECK(bind(second, (struct sockaddr *)&bound, sizeof bound) == -1 && errno == EADDRINUSE);
    length = sizeof value;
    CHECK(!getsockopt(listening, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) && value == 1);
    struct timeval limit = {0, 5000};
    CHECK(!setsockopt(listening, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    CHECK(accept(listening, NULL, NULL) == -1 && errno == EAGAIN);
    limit.tv_usec = 0;
    CHECK(!setsockopt(listening, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    /* One who waits in accept is woken by a shutdown. */
    pthread_t waiter = begin(accept_one, NULL);
    usleep(10000);
    CHECK(!shutdown(listening, SHUT_RDWR));
    CHECK((long)result_of(waiter) == EINVAL && !close(listening) && !close(second));
}

/* ---- connections: the test's client does its part, see corners.rs ---- */

static int port;

static void reception(int conn) {
    char a[16] = "", b[16] = "";
    int waiting = 0;
    CHECK(recv(conn, a, 10, MSG_PEEK | MSG_WAITALL) == 10 && !memcmp(a, "abcdefghij", 10));
    CHECK(!ioctl(conn, FIONREAD, &waiting) && waiting == 10);
    CHECK(recv(conn, a, 2, MSG_WAITALL) == 2 && !memcmp(a, "ab", 2));
    struct iovec two[] = {{a, 1}, {b, 2}}, three[] = {{a, 2}, {b, 0}, {b, 1}};
    struct sockaddr_in nobody;
    struct msghdr message = {.msg_iov = two, .msg_iovlen = 2, .msg_name = &nobody,
                             .msg_namelen = sizeof nobody, .msg_flags = 77};
    CHECK(recvmsg(conn, &message, 0) == 3 && a[0] == 'c' && !memcmp(b, "de", 2));
    CHECK(message.msg_flags == 0 && message.msg_namelen == 0);
    CHECK(readv(conn, three, 3) == 3 && !memcmp(a, "fg", 2) && b[0] == 'h');
    socklen_t length = sizeof nobody;
    CHECK(recvfrom(conn, a, 1, 0, (struct sockaddr *)&nobody, &length) == 1 && a[0] == 'i');
    CHECK(recv(conn, a, 5, MSG_WAITALL | MSG_DONTWAIT) == 1 && a[0] == 'j');
    CHECK(recv(conn, a, 5, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    struct timeval limit = {0, 20000}, none = {0, 0};
    long long before = now(CLOCK_MONOTONIC);
    CHECK(!setsockopt(conn, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    CHECK(read(conn, a, 5) == -1 && errno == EAGAIN && now(CLOCK_MONOTONIC) - before >= 20 * MS);
    CHECK(!setsockopt(conn, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none));
}

static void answers(int conn) {
    char name[] = "/tmp/corners-XXXXXX";
    int file = mkstemp(name), set[2];
    off_t offset = 6;
    CHECK(file >= 0 && !unlink(name) && write(file, "above file", 10) == 10);
    struct iovec parts[] = {{"on", 2}, {"", 0}, {"e ", 2}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    CHECK(writev(conn, parts, 3) == 4 && sendmsg(conn, &message, MSG_NOSIGNAL) == 4);
    struct mmsghdr many[] = {{.msg_hdr = message}, {.msg_hdr = message}};
    CHECK(sendmmsg(conn, many, 2, MSG_NOSIGNAL) == 2 && many[0].msg_len == 4);
    CHECK(sendfile(conn, file, &offset, 100) == 4 && offset == 10); /* up to its end */
    CHECK(lseek(file, 0, SEEK_SET) == 0 && sendfile(conn, file, NULL, 2) == 2);
    CHECK(lseek(file, 0, SEEK_CUR) == 2 && !close(file));
    /* The connection lives as long as one of its numbers. */
    CHECK(!pipe(set) && dup2(conn, set[0]) == set[0]);
    CHECK(write(set[1], "x", 1) == -1 && errno == EPIPE && !close(set[1]));
    CHECK(send(set[0], "\n", 1, MSG_NOSIGNAL) == 1 && !close(set[0]));
}

/* The client sends "klm" and shuts its side. */
static void endings(int conn) {
    int epoll = epoll_create1(0), error = 1;
    socklen_t length = sizeof error;
    struct epoll_event event = {.events = EPOLLOUT | EPOLLRDHUP | EPOLLET}, ready;
    CHECK(!epoll_ctl(epoll, EPOLL_CTL_ADD, conn, &event));
    CHECK(epoll_wait(epoll, &ready, 1, 0) == 1 && ready.events == EPOLLOUT);
    CHECK(send(conn, "go on\n", 6, MSG_NOSIGNAL) == 6);
    do CHECK(epoll_wait(epoll, &ready, 1, -1) == 1); while (!(ready.events & EPOLLRDHUP));
    struct pollfd set = {.fd = conn, .events = POLLIN | POLLRDHUP};
    CHECK(poll(&set, 1, -1) == 1 && set.revents == (POLLIN | POLLRDHUP));
    char a[16];
    CHECK(recv(conn, a, 10, MSG_WAITALL) == 3 && !memcmp(a, "klm", 3));
    CHECK(recv(conn, a, 1, 0) == 0 && recv(conn, a, 1, MSG_DONTWAIT) == 0);
    CHECK(poll(&set, 1, 0) == 1 && set.revents == (POLLIN | POLLRDHUP));
    CHECK(send(conn, "bye\n", 4, MSG_NOSIGNAL) == 4 && !shutdown(conn, SHUT_WR));
    CHECK(send(conn, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
    CHECK(poll(&set, 1, -1) == 1 && set.revents & POLLHUP);
    CHECK(!getsockopt(conn, SOL_SOCKET, SO_ERROR, &error, &length) && error == 0);
    CHECK(!close(epoll));
}

/* The client resets. */
static void resets(int conn) {
    char a[16];
    int error = 1;
    socklen_t length = sizeof error;
    CHECK(read(conn, a, 1) == 1 && send(conn, "go on\n", 6, MSG_NOSIGNAL) == 6);
    struct pollfd set = {.fd = conn, .events = POLLIN | POLLRDHUP};
    CHECK(poll(&set, 1, -1) == 1 && set.revents == (POLLIN | POLLRDHUP | POLLERR | POLLHUP));
    /* The error is told once. */
    CHECK(recv(conn, a, 1, 0) == -1 && errno == ECONNRESET && recv(conn, a, 1, 0) == 0);
    CHECK(!getsockopt(conn, SOL_SOCKET, SO_ERROR, &error, &length) && error == 0);
    CHECK(poll(&set, 1, 0) == 1 && set.revents == (POLLIN | POLLRDHUP | POLLHUP));
    CHECK(send(conn, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
}

/* The client takes nothing for a while. */
static void windows(int conn) {
    static char bytes[1 << 16];
    struct timeval limit = {0, 20000};
    long sent = 0, part;
    CHECK(!setsockopt(conn, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
    while ((part = send(conn, bytes, sizeof bytes, MSG_NOSIGNAL)) > 0) sent += part;
    CHECK(part == -1 && errno == EAGAIN && sent > 0);
    struct pollfd set = {.fd = conn, .events = POLLOUT};
    CHECK(poll(&set, 1, 0) == 0);
    printf("sent %ld\n", sent);
    fflush(stdout);
    /* It goes on. */
    CHECK(poll(&set, 1, -1) == 1 && set.revents == POLLOUT);
    limit.tv_usec = 0;
    CHECK(!setsockopt(conn, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
    CHECK(send(conn, "end\n", 4, MSG_NOSIGNAL) == 4);
}

static void connections(void) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)}, peer;
    socklen_t length = sizeof peer;
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1, conn;
    CHECK(!setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    CHECK(!bind(listener, (struct sockaddr *)&any, sizeof any) && !listen(listener, 5));
    printf("listening\n");
    fflush(stdout);
    CHECK((conn = accept(listener, (struct sockaddr *)&peer, &length)) >= 0);
    CHECK(length == sizeof peer && peer.sin_family == AF_INET && peer.sin_port);
    reception(conn);
    answers(conn);
    endings(conn);
    CHECK(!close(conn));
    CHECK((conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
    CHECK(fcntl(conn, F_GETFD) == FD_CLOEXEC && !(fcntl(conn, F_GETFL) & O_NONBLOCK));
    resets(conn);
    CHECK(!close(conn) && (conn = accept(listener, NULL, NULL)) >= 0);
    windows(conn);
    CHECK(!close(conn) && !close(listener));
}

static const struct probe probes[] = {
    {"pipes", pipes}, {"duplicates", duplicates}, {"polls", polls}, {"epolls", epolls},
    {"listeners", listeners}, {"connections", connections},
};

int main(int count, char **arguments) {
    if (count > 2) port = atoi(arguments[2]);
    return count < 2 ? 2 : run_probe(arguments[1], probes, sizeof probes / sizeof *probes);
}
