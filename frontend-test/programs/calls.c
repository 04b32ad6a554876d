/*
 * A server that tries calls on request: each line names a probe, and the answer is "ok" with the
 * results, or "failed" with the line of this file. Probes check what POSIX promises, so they also
 * pass natively. They answer with values that differ from run to run natively (times, random
 * bytes, numbers of processes and threads, addresses), so that replicas are compared by their
 * output.
 *
 * The server has two listeners, IPv4 on PORT and IPv6 on PORT + 1. Each connection has a thread.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Leaves the probe with the number of the line that failed. */
#define CHECK(condition) do { if (!(condition)) return __LINE__; } while (0)

typedef int probe(int fd, char *seen, size_t size);

static void *add(void *argument) {
    for (int i = 0; i < 100; i++) {
        pthread_mutex_t *lock = ((void **)argument)[0];
        long *count = ((void **)argument)[1];
        pthread_mutex_lock(lock);
        ++*count;
        pthread_mutex_unlock(lock);
    }
    return argument;
}

static int mutex(int fd, char *seen, size_t size) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    long count = 0;
    void *argument[] = {&lock, &count}, *result;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) CHECK(!pthread_create(&threads[i], NULL, add, argument));
    for (int i = 0; i < 4; i++) {
        CHECK(!pthread_join(threads[i], &result));
        CHECK(result == argument);
    }
    CHECK(count == 400);
    CHECK(!pthread_mutex_trylock(&lock));
    CHECK(pthread_mutex_trylock(&lock) == EBUSY);
    CHECK(!pthread_mutex_unlock(&lock));
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_t again;
    CHECK(!pthread_mutex_init(&again, &attributes));
    CHECK(!pthread_mutex_lock(&again) && !pthread_mutex_lock(&again));
    CHECK(!pthread_mutex_unlock(&again) && !pthread_mutex_unlock(&again));
    CHECK(!pthread_mutex_destroy(&again));
    snprintf(seen, size, "%ld", count);
    return 0;
}

struct meeting {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int stage;
};

static void *follow(void *argument) {
    struct meeting *m = argument;
    pthread_mutex_lock(&m->lock);
    while (m->stage != 1) pthread_cond_wait(&m->changed, &m->lock);
    m->stage = 2;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

static int cond(int fd, char *seen, size_t size) {
    struct meeting m = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, follow, &m));
    pthread_mutex_lock(&m.lock);
    m.stage = 1;
    pthread_cond_signal(&m.changed);
    while (m.stage != 2) pthread_cond_wait(&m.changed, &m.lock);
    struct timespec start, end;
    clock_gettime(CLOCK_REALTIME, &start);
    end = start;
    end.tv_nsec += 30000000;
    if (end.tv_nsec >= 1000000000) end.tv_sec++, end.tv_nsec -= 1000000000;
    int result = pthread_cond_timedwait(&m.changed, &m.lock, &end);
    pthread_mutex_unlock(&m.lock);
    CHECK(result == ETIMEDOUT);
    clock_gettime(CLOCK_REALTIME, &start);
    CHECK(start.tv_sec > end.tv_sec ||
          (start.tv_sec == end.tv_sec && start.tv_nsec >= end.tv_nsec));
    CHECK(!pthread_join(thread, NULL));
    snprintf(seen, size, "%ld.%09ld", (long)start.tv_sec, start.tv_nsec);
    return 0;
}

static pthread_rwlock_t shared = PTHREAD_RWLOCK_INITIALIZER;

static void *read_shared(void *argument) {
    pthread_rwlock_rdlock(&shared);
    ++*(int *)argument;
    pthread_rwlock_unlock(&shared);
    return NULL;
}

static int rwlock(int fd, char *seen, size_t size) {
    int reads = 0;
    pthread_t thread;
    CHECK(!pthread_rwlock_rdlock(&shared));
    CHECK(!pthread_rwlock_tryrdlock(&shared));
    CHECK(pthread_rwlock_trywrlock(&shared) == EBUSY);
    CHECK(!pthread_rwlock_unlock(&shared) && !pthread_rwlock_unlock(&shared));
    CHECK(!pthread_rwlock_wrlock(&shared));
    CHECK(!pthread_create(&thread, NULL, read_shared, &reads));
    sched_yield();
    CHECK(reads == 0);
    CHECK(!pthread_rwlock_unlock(&shared));
    CHECK(!pthread_join(thread, NULL));
    CHECK(reads == 1);
    return 0;
}

static void *post(void *argument) {
    sem_post(argument);
    return NULL;
}

static int semaphore(int fd, char *seen, size_t size) {
    sem_t sem;
    pthread_t thread;
    int value;
    CHECK(!sem_init(&sem, 0, 1));
    CHECK(!sem_wait(&sem));
    CHECK(sem_trywait(&sem) == -1 && errno == EAGAIN);
    CHECK(!pthread_create(&thread, NULL, post, &sem));
    CHECK(!sem_wait(&sem));
    CHECK(!pthread_join(thread, NULL));
    CHECK(!sem_getvalue(&sem, &value) && value == 0);
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec -= 1;
    CHECK(sem_timedwait(&sem, &end) == -1 && errno == ETIMEDOUT);
    return 0;
}

static pthread_barrier_t gathering;
static void *gather(void *argument) {
    int result = pthread_barrier_wait(&gathering);
    return (void *)(long)(result == PTHREAD_BARRIER_SERIAL_THREAD);
}

static int barrier(int fd, char *seen, size_t size) {
    pthread_t threads[3];
    void *result;
    long serial = 0;
    CHECK(!pthread_barrier_init(&gathering, NULL, 4));
    for (int i = 0; i < 3; i++) CHECK(!pthread_create(&threads[i], NULL, gather, NULL));
    serial += (long)gather(NULL);
    for (int i = 0; i < 3; i++) {
        CHECK(!pthread_join(threads[i], &result));
        serial += (long)result;
    }
    CHECK(serial == 1);
    CHECK(!pthread_barrier_destroy(&gathering));
    return 0;
}

static int once_count;
static void count_once(void) { once_count++; }

static int once(int fd, char *seen, size_t size) {
    pthread_once_t once = PTHREAD_ONCE_INIT;
    int before = once_count;
    CHECK(!pthread_once(&once, count_once) && !pthread_once(&once, count_once));
    CHECK(once_count == before + 1);
    return 0;
}

static int sleeps(int fd, char *seen, size_t size) {
    struct timespec start, end, pause = {0, 20000000};
    clock_gettime(CLOCK_MONOTONIC, &start);
    CHECK(!nanosleep(&pause, NULL));
    CHECK(!usleep(10000));
    CHECK(!clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL));
    clock_gettime(CLOCK_MONOTONIC, &end);
    long took = (end.tv_sec - start.tv_sec) * 1000000000L + end.tv_nsec - start.tv_nsec;
    CHECK(took >= 50000000);
    snprintf(seen, size, "%ld ns", took);
    return 0;
}

static int times(int fd, char *seen, size_t size) {
    struct timespec a, b, monotonic;
    struct timeval day;
    clock_gettime(CLOCK_REALTIME, &a);
    gettimeofday(&day, NULL);
    time_t seconds = time(NULL);
    clock_gettime(CLOCK_REALTIME, &b);
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    CHECK(a.tv_sec > 1700000000);
    CHECK(b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec));
    CHECK(day.tv_sec >= a.tv_sec && seconds >= a.tv_sec && seconds <= b.tv_sec);
    snprintf(seen, size, "%ld.%09ld %ld.%09ld", (long)a.tv_sec, a.tv_nsec,
             (long)monotonic.tv_sec, monotonic.tv_nsec);
    return 0;
}

static int chance(int fd, char *seen, size_t size) {
    unsigned long a = 0, b = 0, c = 0;
    CHECK(getrandom(&a, sizeof a, 0) == sizeof a);
    CHECK(getentropy(&b, sizeof b) == 0);
    int source = open("/dev/urandom", O_RDONLY);
    CHECK(source >= 0 && read(source, &c, sizeof c) == sizeof c && !close(source));
    CHECK(a != b && b != c && a != c);
    snprintf(seen, size, "%lx %lx %lx", a, b, c);
    return 0;
}

static int identity(int fd, char *seen, size_t size) {
    struct utsname name;
    char host[65], *allocated = malloc(100), *large = malloc(1 << 20);
    CHECK(!uname(&name) && !gethostname(host, sizeof host) && !strcmp(host, name.nodename));
    snprintf(seen, size, "%d %d %s heap %p map %p stack %p code %p fd %d", getpid(),
             (int)syscall(SYS_gettid), host, (void *)allocated, (void *)large, (void *)&name,
             (void *)identity, fd);
    free(allocated);
    free(large);
    return 0;
}

static void *write_byte(void *argument) {
    return (void *)(long)write(*(int *)argument, "x", 1);
}

static int pipes(int fd, char *seen, size_t size) {
    int ends[2], pair[2];
    char byte = 0;
    pthread_t thread;
    CHECK(!pipe(ends));
    CHECK(!pthread_create(&thread, NULL, write_byte, &ends[1]));
    CHECK(read(ends[0], &byte, 1) == 1 && byte == 'x');
    CHECK(!pthread_join(thread, NULL));
    CHECK(!close(ends[1]) && read(ends[0], &byte, 1) == 0 && !close(ends[0]));
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    CHECK(!pthread_create(&thread, NULL, write_byte, &pair[1]));
    CHECK(recv(pair[0], &byte, 1, 0) == 1);
    CHECK(!pthread_join(thread, NULL));
    CHECK(!fcntl(pair[0], F_SETFL, O_NONBLOCK));
    CHECK(read(pair[0], &byte, 1) == -1 && errno == EAGAIN);
    CHECK(!close(pair[0]) && !close(pair[1]));
    return 0;
}

static void *notify(void *argument) {
    usleep(1000);
    return (void *)(long)eventfd_write(*(int *)argument, 5);
}

static int events(int fd, char *seen, size_t size) {
    int event = eventfd(0, EFD_NONBLOCK), epoll = epoll_create1(0);
    pthread_t thread;
    eventfd_t value;
    struct epoll_event interest = {.events = EPOLLIN, .data.u64 = 77}, ready;
    CHECK(event >= 0 && epoll >= 0);
    CHECK(eventfd_read(event, &value) == -1 && errno == EAGAIN);
    CHECK(!epoll_ctl(epoll, EPOLL_CTL_ADD, event, &interest));
    CHECK(epoll_wait(epoll, &ready, 1, 0) == 0);
    CHECK(!pthread_create(&thread, NULL, notify, &event));
    CHECK(epoll_wait(epoll, &ready, 1, 5000) == 1 && ready.data.u64 == 77);
    CHECK(epoll_wait(epoll, &ready, 1, 0) == 1); /* level-triggered: reported again */
    CHECK(!eventfd_read(event, &value) && value == 5);
    CHECK(epoll_wait(epoll, &ready, 1, 10) == 0);
    interest.events = EPOLLIN | EPOLLET;
    CHECK(!epoll_ctl(epoll, EPOLL_CTL_MOD, event, &interest));
    CHECK(!eventfd_write(event, 1));
    CHECK(epoll_wait(epoll, &ready, 1, 5000) == 1);
    CHECK(epoll_wait(epoll, &ready, 1, 10) == 0); /* edge-triggered: reported once */
    CHECK(!pthread_join(thread, NULL));
    CHECK(!close(epoll) && !close(event));
    return 0;
}

static int readiness(int fd, char *seen, size_t size) {
    int ends[2];
    CHECK(!pipe(ends));
    struct pollfd both[] = {{.fd = ends[0], .events = POLLIN}, {.fd = ends[1], .events = POLLOUT}};
    CHECK(poll(both, 2, 0) == 1 && !both[0].revents && both[1].revents == POLLOUT);
    CHECK(poll(both, 1, 10) == 0);
    CHECK(write(ends[1], "y", 1) == 1);
    CHECK(poll(both, 2, 1000) == 2 && both[0].revents == POLLIN);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    struct timeval pause = {1, 0};
    CHECK(select(ends[0] + 1, &set, NULL, NULL, &pause) == 1 && FD_ISSET(ends[0], &set));
    /* The client has sent no byte after its line, and the connection has room for an answer. */
    struct pollfd client = {.fd = fd, .events = POLLIN | POLLOUT};
    CHECK(poll(&client, 1, 0) == 1 && client.revents == POLLOUT);
    int waiting = -1;
    CHECK(!ioctl(fd, FIONREAD, &waiting) && waiting == 0);
    CHECK(!close(ends[0]) && !close(ends[1]));
    return 0;
}

static int sockets(int fd, char *seen, size_t size) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    CHECK(!getsockname(fd, (struct sockaddr *)&address, &length));
    int family = address.ss_family, type = 0, copy = dup(fd);
    CHECK(family == AF_INET || family == AF_INET6);
    length = sizeof address;
    CHECK(!getpeername(fd, (struct sockaddr *)&address, &length) && address.ss_family == family);
    length = sizeof type;
    CHECK(!getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) && type == SOCK_STREAM);
    CHECK(copy >= 0 && copy != fd);
    CHECK(write(copy, "by a copy, ", 11) == 11 && !close(copy));
    struct iovec parts[] = {{"in ", 3}, {"parts, ", 7}};
    CHECK(writev(fd, parts, 2) == 10);
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    CHECK(sendmsg(fd, &message, MSG_NOSIGNAL) == 10);
    char name[] = "/tmp/calls-XXXXXX";
    int file = mkstemp(name);
    off_t offset = 5;
    CHECK(file >= 0 && write(file, "from a file, ", 13) == 13);
    CHECK(sendfile(fd, file, &offset, 8) == 8 && offset == 13);
    CHECK(!close(file) && !unlink(name));
    char byte;
    CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    int flags = fcntl(fd, F_GETFL);
    CHECK(!fcntl(fd, F_SETFL, flags | O_NONBLOCK) && read(fd, &byte, 1) == -1 && errno == EAGAIN);
    CHECK(!fcntl(fd, F_SETFL, flags));
    snprintf(seen, size, "%s", family == AF_INET ? "IPv4" : "IPv6");
    return 0;
}

/* The C library reads and writes here by calls within itself. */
static int stream(int fd, char *seen, size_t size) {
    int copy = dup(fd);
    FILE *out = fdopen(copy, "w");
    CHECK(copy >= 0 && out);
    CHECK(fprintf(out, "by stdio, ") == 10 && !fclose(out));
    FILE *file = fopen("/proc/self/cmdline", "r");
    char name[64] = "";
    CHECK(file && fgets(name, sizeof name, file) && !fclose(file));
    snprintf(seen, size, "%s", name);
    return 0;
}

/* Starts a child that uses no client's socket and only runs another program. */
static int spawn(int fd, char *seen, size_t size) {
    int ends[2], status = -1;
    CHECK(!pipe(ends));
    pid_t child = fork();
    CHECK(child >= 0);
    if (!child) {
        dup2(ends[1], 1);
        execl("/bin/echo", "echo", "from a child", NULL);
        _exit(127);
    }
    CHECK(!close(ends[1]));
    ssize_t length = read(ends[0], seen, size - 1);
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status));
    CHECK(length == 13 && !close(ends[0]));
    seen[length - 1] = 0;
    return 0;
}

static int ring(int fd, char *seen, size_t size) {
    char parameters[256] = {0};
    long result = syscall(SYS_io_uring_setup, 4, parameters);
    snprintf(seen, size, "%s", result < 0 && errno == ENOSYS ? "ENOSYS" : "there is one");
    if (result >= 0) close(result);
    return 0;
}

static void *leave(void *argument) { pthread_exit(argument); }

static int threads(int fd, char *seen, size_t size) {
    pthread_t thread;
    void *result = NULL;
    CHECK(!pthread_create(&thread, NULL, leave, seen));
    CHECK(!pthread_join(thread, &result) && result == seen);
    sem_t done;
    CHECK(!sem_init(&done, 0, 0));
    CHECK(!pthread_create(&thread, NULL, post, &done));
    CHECK(!pthread_detach(thread));
    CHECK(!sem_wait(&done));
    return 0;
}

static const struct { const char *name; probe *run; } probes[] = {
    {"mutex", mutex}, {"cond", cond}, {"rwlock", rwlock}, {"semaphore", semaphore},
    {"barrier", barrier}, {"once", once}, {"threads", threads}, {"sleeps", sleeps},
    {"times", times}, {"chance", chance}, {"identity", identity}, {"pipes", pipes},
    {"events", events}, {"readiness", readiness}, {"sockets", sockets}, {"ring", ring},
    {"stream", stream}, {"spawn", spawn},
};

/* Lets one probe run at a time: some have static variables, and no answer may depend on others. */
static pthread_mutex_t alone = PTHREAD_MUTEX_INITIALIZER;

static void *serve(void *argument) {
    int fd = (int)(long)argument;
    char line[64], seen[256], answer[384];
    size_t length = 0;
    while (read(fd, &line[length], 1) == 1) {
        if (line[length] != '\n') {
            if (++length == sizeof line) break;
            continue;
        }
        line[length] = 0;
        length = 0;
        int failed = -1;
        seen[0] = 0;
        for (size_t i = 0; i < sizeof probes / sizeof *probes; i++) {
            if (strcmp(probes[i].name, line)) continue;
            pthread_mutex_lock(&alone);
            failed = probes[i].run(fd, seen, sizeof seen);
            pthread_mutex_unlock(&alone);
        }
        int size = failed ? snprintf(answer, sizeof answer, "%s: failed at line %d, errno %d\n",
                                     line, failed, errno)
                          : snprintf(answer, sizeof answer, "%s: ok %s\n", line, seen);
        if (write(fd, answer, size) != size) break;
    }
    close(fd);
    return NULL;
}

static int listener(int family, int port) {
    int fd = socket(family, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port),
                               .sin6_addr = IN6ADDR_ANY_INIT};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    int bound = family == AF_INET ? bind(fd, (struct sockaddr *)&four, sizeof four)
                                  : bind(fd, (struct sockaddr *)&six, sizeof six);
    if (bound || listen(fd, 64)) {
        perror("bind");
        exit(1);
    }
    return fd;
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    int port = atoi(arguments[1]);
    struct pollfd both[] = {{.fd = listener(AF_INET, port), .events = POLLIN},
                            {.fd = listener(AF_INET6, port + 1), .events = POLLIN}};
    for (;;) {
        if (poll(both, 2, -1) < 0) continue;
        for (int i = 0; i < 2; i++) {
            if (!(both[i].revents & POLLIN)) continue;
            int fd = accept4(both[i].fd, NULL, NULL, SOCK_CLOEXEC);
            pthread_t thread;
            if (fd < 0) continue;
            if (pthread_create(&thread, NULL, serve, (void *)(long)fd)) return 1;
            pthread_detach(thread);
        }
    }
}
