/* Small programs that use what the preload library stands in front of; each prints what it saw. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void check(int ok, const char *what) {
    if (!ok) {
        printf("FAILED %s: %s\n", what, strerror(errno));
        fflush(stdout);
        _exit(1);
    }
}

/* Threads write down in which order they got each lock: with a race on plain data beside it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_barrier_t barrier;
static sem_t semaphore;
static volatile long racy;
static char order[4096];
static volatile int length, ready;

static void note(char c) { if (length < 4000) order[length++] = c; }
static void first(void) { usleep(10); note('*'); }

static void *worker(void *argument) {
    char me = 'a' + (char)(intptr_t)argument;
    pthread_once(&once, first);
    for (int i = 0; i < 50; i++) {
        pthread_mutex_lock(&lock);
        note(me);
        pthread_mutex_unlock(&lock);
        for (int j = 0; j < 1000; j++) racy++;
        pthread_rwlock_rdlock(&rwlock);
        pthread_rwlock_unlock(&rwlock);
        if (i % 7 == 0) sched_yield();
        if (i % 11 == 0) usleep(100);
        pthread_rwlock_wrlock(&rwlock);
        racy = racy * 3 + me;
        pthread_rwlock_unlock(&rwlock);
        sem_wait(&semaphore);
        sem_post(&semaphore);
    }
    pthread_barrier_wait(&barrier);
    pthread_mutex_lock(&lock);
    while (!ready) pthread_cond_wait(&cond, &lock);
    note(me - 32);
    pthread_mutex_unlock(&lock);
    return argument;
}

static void threads(void) {
    pthread_t made[8];
    sem_init(&semaphore, 0, 1);
    pthread_barrier_init(&barrier, NULL, 9);
    for (intptr_t i = 0; i < 8; i++) {
        check(!pthread_create(&made[i], NULL, worker, (void *)i), "create");
    }
    pthread_barrier_wait(&barrier);
    usleep(1000);
    pthread_mutex_lock(&lock);
    ready = 1;
    pthread_cond_broadcast(&cond);
    pthread_mutex_unlock(&lock);
    for (intptr_t i = 0; i < 8; i++) {
        void *result;
        check(!pthread_join(made[i], &result) && result == (void *)i, "join");
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec = (until.tv_nsec + 1000000) % 1000000000;
    until.tv_sec += until.tv_nsec < 1000000;
    pthread_mutex_lock(&lock);
    check(pthread_cond_timedwait(&cond, &lock, &until) == ETIMEDOUT, "timedwait");
    pthread_mutex_unlock(&lock);
    printf("%s %ld\n", order, racy);
}

/* POSIX's rules about locks must still hold. */
static void locks(void) {
    pthread_mutexattr_t attributes;
    pthread_mutex_t m;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&m, &attributes);
    check(!pthread_mutex_lock(&m) && !pthread_mutex_lock(&m), "recursive");
    check(!pthread_mutex_unlock(&m) && !pthread_mutex_unlock(&m), "recursive unlock");
    check(pthread_mutex_unlock(&m) == EPERM, "recursive: not the owner");
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&m, &attributes);
    check(!pthread_mutex_lock(&m), "errorcheck");
    check(pthread_mutex_lock(&m) == EDEADLK, "errorcheck: deadlock");
    check(pthread_mutex_trylock(&m) == EBUSY, "errorcheck: busy");
    check(!pthread_mutex_unlock(&m), "errorcheck unlock");
    struct timespec past = {0, 0};
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_NORMAL);
    pthread_mutex_init(&m, &attributes);
    check(!pthread_mutex_lock(&m), "normal");
    check(pthread_mutex_timedlock(&m, &past) == ETIMEDOUT, "timedlock");
    sem_t s;
    sem_init(&s, 0, 0);
    errno = 0;
    check(sem_trywait(&s) == -1 && errno == EAGAIN, "sem_trywait");
    check(sem_timedwait(&s, &past) == -1 && errno == ETIMEDOUT, "sem_timedwait");
    puts("locks ok");
}

/* Pipes, socket pairs and eventfds between threads. */
static int ends[2], pair[2], counter;
static void *writer(void *unused) {
    static char much[200000];
    memset(much, 'x', sizeof much);
    usleep(1000);
    check(write(ends[1], much, sizeof much) == sizeof much, "large write");
    close(ends[1]);
    uint64_t three = 3;
    check(write(counter, &three, 8) == 8, "eventfd");
    check(send(pair[1], "hello", 5, 0) == 5, "socketpair");
    return unused;
}

static void channels(void) {
    pthread_t made;
    check(!pipe(ends) && !socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "pipe");
    check((counter = eventfd(0, 0)) >= 0, "eventfd");
    check(!pthread_create(&made, NULL, writer, NULL), "create");
    char space[7000];
    long total = 0, count;
    while ((count = read(ends[0], space, sizeof space)) > 0) total += count;
    uint64_t value;
    check(read(counter, &value, 8) == 8 && value == 3, "eventfd read");
    struct pollfd entry = {pair[0], POLLIN, 0};
    check(poll(&entry, 1, 10000) == 1, "poll");
    check(recv(pair[0], space, 100, 0) == 5, "recv");
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    check(recv(pair[0], space, 100, 0) == -1 && errno == EAGAIN, "would block");
    pthread_join(made, NULL);
    printf("channels %ld\n", total);
}

/* Agreed time and randomness. */
static void values(void) {
    struct timespec now;
    unsigned char bytes[16];
    clock_gettime(CLOCK_REALTIME, &now);
    check(getrandom(bytes, sizeof bytes, 0) == sizeof bytes, "getrandom");
    printf("%ld.%09ld %ld ", (long)now.tv_sec, now.tv_nsec, (long)time(NULL));
    for (int i = 0; i < 16; i++) printf("%02x", bytes[i]);
    int random = open("/dev/urandom", O_RDONLY);
    check(read(random, bytes, 8) == 8, "urandom");
    for (int i = 0; i < 8; i++) printf("%02x", bytes[i]);
    FILE *stream = fopen("/dev/urandom", "r");
    check(fread(bytes, 1, 8, stream) == 8, "stream of urandom");
    for (int i = 0; i < 8; i++) printf("%02x", bytes[i]);
    fclose(stream);
    time_t before = time(NULL);
    sleep(100);
    printf(" %ld\n", (long)(time(NULL) - before));
}

/* A server by epoll (mode "e"), edge-triggered ("E"), poll ("p"), select ("s") or a thread per
   connection ("t"): upper-cases what it reads, ends after a connection that says "quit". */
static int listener;
static int serve(int conn) {
    char space[1000];
    long count = recv(conn, space, sizeof space, 0);
    if (count <= 0) return 0;
    for (long i = 0; i < count; i++)
        if (space[i] >= 'a' && space[i] <= 'z') space[i] -= 32;
    check(send(conn, space, count, MSG_NOSIGNAL) == count, "send");
    return count >= 4 && !memcmp(space, "QUIT", 4) ? -1 : 1;
}

static void *per_connection(void *conn) {
    int result;
    while ((result = serve((int)(intptr_t)conn)) > 0) racy++;
    close((int)(intptr_t)conn);
    if (result < 0) { usleep(1000); printf("served %ld\n", racy); fflush(stdout); exit(0); }
    return NULL;
}

static void server(char mode) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(7777)};
    listener = socket(AF_INET, SOCK_STREAM | (mode == 'E' ? SOCK_NONBLOCK : 0), 0);
    check(!bind(listener, (void *)&address, sizeof address) && !listen(listener, 10), "listen");
    int conns[64], n = 0, epoll = epoll_create1(0), served = 0, end = 0;
    struct epoll_event event = {.events = EPOLLIN | (mode == 'E' ? EPOLLET : 0),
                                .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    while (!end) {
        int readable[64], m = 0;
        if (mode == 't') {
            int conn = accept(listener, NULL, NULL);
            pthread_t made;
            check(!pthread_create(&made, NULL, per_connection, (void *)(intptr_t)conn), "create");
            pthread_detach(made);
            continue;
        } else if (mode == 'p') {
            struct pollfd entries[64] = {{listener, POLLIN, 0}};
            for (int i = 0; i < n; i++) entries[i + 1] = (struct pollfd){conns[i], POLLIN, 0};
            check(poll(entries, n + 1, -1) > 0, "poll");
            for (int i = 0; i <= n; i++) if (entries[i].revents) readable[m++] = entries[i].fd;
        } else if (mode == 's') {
            fd_set set;
            FD_ZERO(&set);
            FD_SET(listener, &set);
            for (int i = 0; i < n; i++) FD_SET(conns[i], &set);
            check(select(64, &set, NULL, NULL, NULL) > 0, "select");
            for (int i = 0; i < 64; i++) if (FD_ISSET(i, &set)) readable[m++] = i;
        } else {
            struct epoll_event events[64];
            int count = epoll_wait(epoll, events, 64, -1);
            check(count > 0, "epoll_wait");
            for (int i = 0; i < count; i++) readable[m++] = events[i].data.fd;
        }
        for (int i = 0; i < m; i++) {
            if (readable[i] == listener) {
                do {
                    int conn = accept4(listener, NULL, NULL, mode == 'E' ? SOCK_NONBLOCK : 0);
                    if (conn < 0 && mode == 'E' && errno == EAGAIN) break;
                    check(conn >= 0, "accept");
                    event.data.fd = conns[n++] = conn;
                    epoll_ctl(epoll, EPOLL_CTL_ADD, conn, &event);
                } while (mode == 'E');
                errno = 0;
                continue;
            }
            int result;
            do result = serve(readable[i]); while (mode == 'E' && result > 0);
            if (result > 0) served++;
            if (mode == 'E' && result == 0 && errno == EAGAIN) { errno = 0; continue; }
            if (result < 0) end = 1;
            if (result <= 0) {
                close(readable[i]);
                for (int j = 0; j < n; j++) if (conns[j] == readable[i]) conns[j] = conns[--n];
            }
        }
    }
    printf("served %d\n", served);
}

static void forks(int serves) {
    if (serves) { listener = socket(AF_INET, SOCK_STREAM, 0); listen(listener, 5); }
    int ends[2];
    char c = 0;
    check(!pipe(ends), "pipe");
    pid_t child = fork();
    if (!child) {
        if (write(ends[1], "p", 1) != 1) _exit(3);
        if (serves) accept(listener, NULL, NULL);
        execlp("echo", "echo", "from a child", NULL);
    }
    int status;
    check(read(ends[0], &c, 1) == 1 && c == 'p', "the child's pipe");
    waitpid(child, &status, 0);
    printf("child %d\n", WEXITSTATUS(status));
}

/* Returns the limit of open files, from which on the library has its own. */
static int limit(void) {
    struct rlimit here;
    check(!getrlimit(RLIMIT_NOFILE, &here), "getrlimit");
    return (int)here.rlim_cur;
}

/* The library's own descriptors are closed to the program, and stay open. */
static void hidden(char *self) {
    int own = limit(), last = 2, number;
    char path[64];
    /* Those that the test's own process was given. */
    closefrom(3);
    while ((number = dup(0)) >= 0) { check(number == last + 1, "the next number"); last = number; }
    check(errno == EMFILE && last == own - 1, "all numbers up to the limit");
    check(close_range(3, ~0U, 0) == 0, "close_range");
    for (number = own; number < own + 2; number++) {
        check(close(number) == -1 && errno == EBADF, "close");
        check(fcntl(number, F_GETFD) == -1 && errno == EBADF, "fcntl");
        check(dup(number) == -1 && errno == EBADF, "dup");
        check(dup2(number, 5) == -1 && errno == EBADF, "dup2 from it");
        check(dup2(0, number) == -1 && errno == EBADF, "dup2 onto it");
        check(dup3(0, number, 0) == -1 && errno == EBADF, "dup3 onto it");
        check(fcntl(0, F_DUPFD, number) == -1 && errno == EINVAL, "F_DUPFD");
    }
    /* No process can cut the memory off under another one. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", own);
    int memory = open(path, O_RDWR);
    check(memory == 3, "the memory, by proc");
    check(ftruncate(memory, 0) == -1 && errno == EPERM, "ftruncate to nothing");
    check(ftruncate(memory, 1 << 30) == -1 && errno == EPERM, "ftruncate to more");
    close(memory);
    snprintf(path, sizeof path, "ls /proc/self/fd | grep -q '^%d$'", own);
    fflush(stdout);
    check(WEXITSTATUS(system(path)) == 1, "a child's program has it not");
    /* All ways of closing everything, before another program takes this one's place. */
    closefrom(3);
    check(!close_range(3, own + 1, 2 /* CLOSE_RANGE_UNSHARE */), "close_range, unshared");
    check(!close_range(3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */), "close_range, for exec");
    check(!syscall(SYS_close_range, 3, ~0U, 0), "close_range, by number");
    for (number = 3; number < own + 2; number++) close(number);
    DIR *open_files = opendir("/proc/self/fd");
    struct dirent *entry;
    while ((entry = readdir(open_files))) {
        number = atoi(entry->d_name);
        if (number > 2 && number != dirfd(open_files)) close(number);
    }
    closedir(open_files);
    check(execl("/no/program", self, "values", NULL) == -1 && errno == ENOENT, "no program");
    execl(self, self, "values", NULL);
}

/* Closes the library's descriptors behind its back, and then needs them. */
static void closes_inline(const char *then, char *self) {
    long result;
    register long flags __asm__("rdx") = 0;
    __asm__ volatile("syscall" : "=a"(result)
                     : "a"(SYS_close_range), "D"(3L), "S"(~0U), "r"(flags)
                     : "rcx", "r11", "memory");
    check(result == 0, "close_range");
    if (!strcmp(then, "exec")) execl(self, self, "values", NULL);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    listen(listener, 5);
    sleep(1);
}

int main(int count, char **arguments) {
    const char *which = count > 1 ? arguments[1] : "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!strcmp(which, "threads")) threads();
    else if (!strcmp(which, "locks")) locks();
    else if (!strcmp(which, "channels")) channels();
    else if (!strcmp(which, "values")) values();
    else if (!strcmp(which, "server")) server(arguments[2][0]);
    else if (!strcmp(which, "exec")) forks(0);
    else if (!strcmp(which, "fork")) forks(1);
    else if (!strcmp(which, "hidden")) hidden(arguments[0]);
    else if (!strcmp(which, "inline")) closes_inline(arguments[2], arguments[0]);
    else return 2;
    fflush(stdout);
    return 0;
}
