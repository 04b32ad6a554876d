/*
 * A server of several processes: children accept in turn by a robust lock in a file that all of
 * them have mapped, and count there. Each answers its connection's requests with the count. A child
 * ends after some connections, and one dies with the lock; the parent hears of it by SIGCHLD, and
 * makes another. Some requests are counted by a pipeline of a shell as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "serve.h"

#define CHILDREN 4
/* Connections of one child, and connections of all behind which one dies with the lock. */
#define CONNECTIONS 5
#define DEADLY 23
/* Requests between two that ask a shell. */
#define SHELLS 16

static struct {
    pthread_mutex_t turn, count;
    unsigned long requests, connections;
} *all;

static volatile sig_atomic_t ended;
static void on_end(int signal) { ended += signal == SIGCHLD; }

static void make(pthread_mutex_t *lock, int protocol) {
    pthread_mutexattr_t how;
    pthread_mutexattr_init(&how);
    pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setprotocol(&how, protocol);
    if (pthread_mutex_init(lock, &how)) abort();
}

static void take(pthread_mutex_t *lock) {
    int error = pthread_mutex_lock(lock);
    if (error == EOWNERDEAD) error = pthread_mutex_consistent(lock);
    if (error) abort();
}

/* The number, by way of a shell. */
static unsigned long by_shell(unsigned long number) {
    char command[100];
    snprintf(command, sizeof command, "echo %lu | tr 0-9 a-j | (read x; echo $x) | tr a-j 0-9",
             number);
    FILE *shell = popen(command, "r");
    if (!shell || fscanf(shell, "%lu", &number) != 1 || pclose(shell)) return 0;
    return number;
}

static int answer(int fd) {
    char request[4096];
    size_t length = 0;
    while (length < 4 || memcmp(request + length - 4, "\r\n\r\n", 4)) {
        ssize_t got = read(fd, request + length, sizeof request - length);
        if (got <= 0) return 0;
        length += got;
    }
    take(&all->count);
    unsigned long number = ++all->requests;
    pthread_mutex_unlock(&all->count);
    if (number % SHELLS == 0) number = by_shell(number);
    char body[32], reply[128];
    int bytes = snprintf(body, sizeof body, "%lu", number);
    bytes = snprintf(reply, sizeof reply, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", bytes,
                     body);
    return write(fd, reply, bytes) == bytes;
}

static void serve(int listener) {
    for (int served = 0; served < CONNECTIONS; served++) {
        take(&all->turn);
        int fd = accept(listener, NULL, NULL);
        if (++all->connections % DEADLY == 0) {
            while (answer(fd)) {}
            _exit(7);
        }
        pthread_mutex_unlock(&all->turn);
        if (fd < 0) abort();
        while (answer(fd)) {}
        close(fd);
    }
    exit(3);
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    int file = open("family.map", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || ftruncate(file, sizeof *all)) return 1;
    all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (all == MAP_FAILED) return 1;
    make(&all->turn, PTHREAD_PRIO_NONE);
    make(&all->count, PTHREAD_PRIO_INHERIT);
    struct sigaction action = {.sa_handler = on_end};
    sigaction(SIGCHLD, &action, NULL);
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    int listener = listen_at(arguments[1]);
    for (int running = 0;;) {
        for (; running < CHILDREN; running++) {
            pid_t child = fork();
            if (child < 0) return 1;
            if (!child) {
                sigprocmask(SIG_SETMASK, &before, NULL);
                signal(SIGCHLD, SIG_DFL);
                serve(listener);
            }
        }
        while (!ended) sigsuspend(&before);
        ended = 0;
        int status;
        while (waitpid(-1, &status, WNOHANG) > 0) {
            running--;
            int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
            if (code != 3 && code != 7) return 1;
        }
    }
}
