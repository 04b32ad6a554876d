/*
 * The frame of each odd program. A program prints the results of its calls, and nothing that
 * differs between two native runs, so that its native transcript is the reference. The forms
 *
 *     PROGRAM PORT           run the program with its peer, if any, in a thread of its own
 *     PROGRAM PORT server    run the program without its peer
 *     PROGRAM PORT peer      run only the peer, which prints nothing
 *
 * end with status 0. A program that opens no listener gets one that no client uses, because crane
 * takes only a program that listens for a server.
 *
 * Before including this file, a program may define PEER (it has `static void peer(void)`) and
 * OWN_LISTENER (it opens its listeners itself). The first line of each program is `// kind: ...`.
 * The second is `// needs: --floor` if the program waits without libc: it runs on a floor alone.
 */
#ifndef ODD_H
#define ODD_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static void odd(void);
#ifdef PEER
static void peer(void);
#endif

/* The port of the program, and its listener unless it opens its own. */
static int port, listener = -1;

/* Ends the program if a condition fails that is no part of the transcript. */
#define MUST(condition) do { if (!(condition)) { \
    fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, strerror(errno)); \
    _exit(3); } } while (0)

static UNUSED void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    fflush(stdout);
}

static UNUSED void show(const char *what, long result, int error, int hide) {
    if (result < 0) say("%s: %s\n", what, strerrorname_np(error));
    else if (hide) say("%s: ok\n", what);
    else say("%s: %ld\n", what, result);
}

/* A call with its arguments, which is tried in several ways. */
struct attempt { const char *name; long number, arguments[6]; };

#define TRY(name, ...) {#name, SYS_##name, {__VA_ARGS__}}
#define AT(place) ((long)(uintptr_t)(place))

static UNUSED long by_instruction(const struct attempt *it) {
    register long d __asm__("r10") = it->arguments[3];
    register long e __asm__("r8") = it->arguments[4];
    register long f __asm__("r9") = it->arguments[5];
    long result;
    __asm__ volatile("syscall"
        : "=a"(result)
        : "a"(it->number), "D"(it->arguments[0]), "S"(it->arguments[1]), "d"(it->arguments[2]),
          "r"(d), "r"(e), "r"(f)
        : "rcx", "r11", "memory");
    return result;
}

static UNUSED long by_number(const struct attempt *it) {
    const long *a = it->arguments;
    long result = syscall(it->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    return result < 0 ? -errno : result;
}

static UNUSED void show_attempt(const char *way, const struct attempt *it, long result) {
    if (result >= 0) say("%s %s: %ld\n", way, it->name, result);
    else say("%s %s: %s\n", way, it->name, strerrorname_np((int)-result));
}

/* Prints a call and its result, or its error. */
#define SHOW(call) do { long result_ = (long)(call); show(#call, result_, errno, 0); } while (0)
/* Does the same as SHOW for results that may differ, such as descriptors and pids. */
#define OK(call) do { long result_ = (long)(call); show(#call, result_, errno, 1); } while (0)
/* Does the same as SHOW for calls that return an error number. */
#define CODE(call) do { int code_ = (call); \
    say("%s: %s\n", #call, code_ ? strerrorname_np(code_) : "0"); } while (0)

/* Opens a listener at the program's port; `family` is AF_INET or AF_INET6. */
static UNUSED int listen_at(int family, int at_port) {
    int fd = socket(family, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(at_port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(at_port)};
    MUST(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
    if (family == AF_INET) MUST(bind(fd, (struct sockaddr *)&v4, sizeof v4) == 0);
    else MUST(bind(fd, (struct sockaddr *)&v6, sizeof v6) == 0);
    MUST(listen(fd, 1024) == 0);
    return fd;
}

static UNUSED int taken(void) {
    int fd = accept(listener, NULL, NULL);
    MUST(fd >= 0);
    return fd;
}

/* Connects to a port of the loopback as soon as the program listens there. */
static UNUSED int dial_port(int at_port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(at_port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < 1000; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        MUST(fd >= 0);
        if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            return fd;
        }
        close(fd);
        usleep(10000);
    }
    MUST(!"connected within 10 s");
    return -1;
}

static UNUSED int dial(void) { return dial_port(port); }

/* Sends the whole text, or ends the program. */
static UNUSED void put(int fd, const char *text) {
    size_t size = strlen(text);
    while (size > 0) {
        ssize_t sent = send(fd, text, size, MSG_NOSIGNAL);
        MUST(sent > 0);
        text += sent;
        size -= sent;
    }
}

/* Reads exactly this number of bytes, or ends the program. */
static UNUSED void get(int fd, char *bytes, size_t size) {
    while (size > 0) {
        ssize_t got = read(fd, bytes, size);
        MUST(got > 0);
        bytes += got;
        size -= got;
    }
}

/* Waits for one byte, which the other side sends as a sign. */
static UNUSED void await_sign(int fd) {
    char byte;
    get(fd, &byte, 1);
}

/* Reads until the other side ends, and returns the number of bytes. */
static UNUSED long drain(int fd) {
    static char bytes[65536];
    long sum = 0;
    for (;;) {
        ssize_t got = read(fd, bytes, sizeof bytes);
        if (got <= 0) return sum;
        sum += got;
    }
}

/* Sends a text after a sign of the other side, and reads until that ends. */
static UNUSED void answer_sign(int fd, const char *text) {
    await_sign(fd);
    put(fd, text);
    drain(fd);
    close(fd);
}

/* Returns the time of a clock after these milliseconds. */
static UNUSED struct timespec in(clockid_t id, long milliseconds) {
    struct timespec at;
    clock_gettime(id, &at);
    long long sum = at.tv_sec * 1000000000ll + at.tv_nsec + milliseconds * 1000000ll;
    return (struct timespec){sum / 1000000000, sum % 1000000000};
}

/* Returns memory that the children of this process share. */
static UNUSED void *shared_memory(size_t size) {
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(at != MAP_FAILED);
    return at;
}

/* Makes a mutex, and a condition unless it is NULL, that processes share. */
static UNUSED void share(pthread_mutex_t *lock, int robust, pthread_cond_t *changed) {
    pthread_mutexattr_t of_lock;
    pthread_condattr_t of_cond;
    pthread_mutexattr_init(&of_lock);
    MUST(pthread_mutexattr_setpshared(&of_lock, PTHREAD_PROCESS_SHARED) == 0);
    if (robust) MUST(pthread_mutexattr_setrobust(&of_lock, PTHREAD_MUTEX_ROBUST) == 0);
    MUST(pthread_mutex_init(lock, &of_lock) == 0);
    if (!changed) return;
    pthread_condattr_init(&of_cond);
    MUST(pthread_condattr_setpshared(&of_cond, PTHREAD_PROCESS_SHARED) == 0);
    MUST(pthread_cond_init(changed, &of_cond) == 0);
}

static UNUSED void handle(int number, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    MUST(sigaction(number, &action, NULL) == 0);
}

/* Raises SIGALRM in this process after some time. */
static UNUSED void alarm_in(int milliseconds) {
    struct itimerval timer = {.it_value = {milliseconds / 1000, milliseconds % 1000 * 1000}};
    MUST(setitimer(ITIMER_REAL, &timer, NULL) == 0);
}

static UNUSED void start(pthread_t *thread, void *(*routine)(void *), void *argument) {
    MUST(pthread_create(thread, NULL, routine, argument) == 0);
}

#ifdef PEER
static void *peer_thread(void *argument) {
    peer();
    return argument;
}
#endif

int main(int count, char **arguments) {
    port = count > 1 ? atoi(arguments[1]) : 7000;
    const char *role = count > 2 ? arguments[2] : "";
    if (!strcmp(role, "peer")) {
#ifdef PEER
        peer();
#endif
        return 0;
    }
#ifndef OWN_LISTENER
    listener = listen_at(AF_INET, port);
#endif
#ifdef PEER
    pthread_t thread;
    int own = strcmp(role, "server") != 0;
    if (own) start(&thread, peer_thread, NULL);
    odd();
    if (own) pthread_join(thread, NULL);
#else
    odd();
#endif
    return 0;
}

#endif
