/*
 * A server whose processes race: each line names a way, and the answer is a signature of the order
 * in which the processes acted, which differs from one native run to the next.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include "serve.h"

#define CHILDREN 4
#define MANY 500

/* Shared by the processes: who acted when, cells over which they race, and a lock. */
static struct {
    volatile unsigned count;
    volatile unsigned char order[4096];
    volatile uint64_t cells[16];
    pthread_mutex_t lock;
} *all;

static uint64_t mixed(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15;
    return hash ^ hash >> 29;
}

static void note(unsigned who) { all->order[all->count++ % sizeof all->order] = who; }

static void work(unsigned times) {
    for (unsigned i = 0; i < times; i++) sched_yield();
}

/* Has children do something at once, and notes the order of their ends. */
static void with_children(void (*act)(unsigned)) {
    int status;
    for (unsigned id = 1; id <= CHILDREN; id++) {
        if (fork()) continue;
        act(id);
        _exit(id);
    }
    while (wait(&status) > 0) note(0x80 | WEXITSTATUS(status));
}

static void race(unsigned id) {
    for (unsigned i = 0; i < 200; i++) {
        uint64_t one = all->cells[(i + id) % 16];
        sched_yield();
        all->cells[one % 16] = mixed(one, id);
    }
}

static void by_flock(unsigned id) {
    int file = open("kin.lock", O_RDWR | O_CREAT, 0600);
    for (int i = 0; i < 12; i++) {
        if (flock(file, LOCK_EX)) abort();
        note(id);
        work(2);
        if (flock(file, LOCK_UN)) abort();
    }
}

static void by_fcntl(unsigned id) {
    int file = open("kin.lock", O_RDWR | O_CREAT, 0600);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    for (int i = 0; i < 12; i++) {
        lock.l_type = F_WRLCK;
        if (fcntl(file, F_SETLKW, &lock)) abort();
        note(id);
        work(2);
        lock.l_type = F_UNLCK;
        if (fcntl(file, F_SETLK, &lock)) abort();
    }
}

static void by_mutex(unsigned id) {
    for (int i = 0; i < 12; i++) {
        int error = pthread_mutex_lock(&all->lock);
        if (error == EOWNERDEAD) pthread_mutex_consistent(&all->lock);
        else if (error) abort();
        note(id);
        work(2);
        /* One dies with the lock. */
        if (id == 1 && i == 6) _exit(id);
        pthread_mutex_unlock(&all->lock);
    }
}

static void by_shell(void) {
    char text[64];
    FILE *shell = popen("{ for i in 1 2 3 4 5 6; do (echo $i) & done; wait; } | tr 1-6 a-f", "r");
    while (shell && fgets(text, sizeof text, shell)) note(text[0]);
    if (!shell || pclose(shell)) abort();
}

static int self[2];

static void on_child(int signal) {
    if (write(self[1], &signal, 1) != 1) abort();
}

/* A supervisor that restarts its children, and hears of their ends by a pipe to itself. */
static void by_supervisor(void) {
    int status, ends = 0, alive = 0;
    char byte;
    if (pipe(self)) abort();
    struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_RESTART}, before;
    sigaction(SIGCHLD, &action, &before);
    for (int made = 0; ends < 16;) {
        for (; alive < CHILDREN && made < 16; made++, alive++) {
            if (fork()) continue;
            work(made % 5 * 10);
            _exit(made);
        }
        if (read(self[0], &byte, 1) != 1) continue;
        while (waitpid(-1, &status, WNOHANG) > 0) {
            note(WEXITSTATUS(status));
            ends++, alive--;
        }
    }
    sigaction(SIGCHLD, &before, NULL);
    close(self[0]), close(self[1]);
}

/* Supervisors of workers, each in a group of its own. */
static void by_tree(void) {
    int ends[2], status;
    unsigned char byte;
    if (pipe(ends)) abort();
    for (unsigned id = 0; id < 3; id++) {
        if (fork()) continue;
        setpgid(0, 0);
        for (unsigned worker = 1; worker <= 3; worker++) {
            if (fork()) continue;
            work(worker * 5);
            byte = id << 4 | worker;
            _exit(write(ends[1], &byte, 1) != 1);
        }
        while (wait(&status) > 0 || errno == EINTR) {}
        byte = id << 4;
        _exit(write(ends[1], &byte, 1) != 1);
    }
    close(ends[1]);
    while (read(ends[0], &byte, 1) == 1) note(byte);
    while (wait(&status) > 0) note(WEXITSTATUS(status));
    close(ends[0]);
}

static void by_many(void) {
    int status;
    for (int made = 0, alive = 0; made < MANY || alive;) {
        if (made < MANY && alive < 40) {
            if (!fork()) _exit(made % 64);
            made++, alive++;
        } else if (wait(&status) > 0) {
            note(WEXITSTATUS(status));
            alive--;
        }
    }
}

static void on_user(int signal) { note(signal); }

/* Signals to children, which count as one while they are pending. */
static void by_signals(void) {
    pid_t children[CHILDREN];
    int status;
    struct sigaction action = {.sa_handler = on_user}, before[2];
    sigaction(SIGUSR1, &action, &before[0]);
    sigaction(SIGUSR2, &action, &before[1]);
    for (int id = 0; id < CHILDREN; id++)
        if (!(children[id] = fork()))
            for (;;) work(3), note(0x40 | id);
    for (int i = 0; i < 24; i++) {
        kill(children[i % CHILDREN], i % 3 ? SIGUSR1 : SIGUSR2);
        work(1);
    }
    for (int id = 0; id < CHILDREN; id++) kill(children[id], SIGTERM);
    while (wait(&status) > 0) note(0x80 | WTERMSIG(status));
    sigaction(SIGUSR1, &before[0], NULL);
    sigaction(SIGUSR2, &before[1], NULL);
}

static volatile unsigned turns, alarms;

static void on_alarm(int signal) {
    note(signal ^ turns);
    alarms++;
}

static void by_timer(void) {
    struct itimerval each = {{0, 1000}, {0, 1000}}, none = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = on_alarm}, before;
    sigaction(SIGALRM, &action, &before);
    alarms = turns = 0;
    setitimer(ITIMER_REAL, &each, NULL);
    while (alarms < 8) turns++, work(1);
    setitimer(ITIMER_REAL, &none, NULL);
    sigaction(SIGALRM, &before, NULL);
}

static volatile unsigned hits;

static void on_hit(int signal) { hits += signal == SIGUSR1; }

/* Reads that a child's signals interrupt. */
static void by_interrupts(void) {
    int ends[2], status;
    char byte;
    if (pipe(ends)) abort();
    struct sigaction action = {.sa_handler = on_hit}, before;
    sigaction(SIGUSR1, &action, &before);
    pid_t parent = getpid();
    if (!fork()) {
        for (int i = 0; i < 60; i++) kill(parent, SIGUSR1), work(i % 3);
        _exit(write(ends[1], "x", 1) != 1);
    }
    hits = 0;
    while (read(ends[0], &byte, 1) != 1) note(hits);
    while (wait(&status) < 0) note(hits);
    note(hits);
    sigaction(SIGUSR1, &before, NULL);
    close(ends[0]), close(ends[1]);
}

static volatile unsigned profiled;

static void on_profile(int signal) { profiled += signal != 0; }

/* The race of processes beside a profiler, which looks and does nothing else. */
static void by_profiled(void) {
    struct itimerval each = {{0, 1000}, {0, 1000}}, none = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = on_profile, .sa_flags = SA_RESTART};
    sigaction(SIGPROF, &action, NULL);
    setitimer(ITIMER_PROF, &each, NULL);
    with_children(race);
    setitimer(ITIMER_PROF, &none, NULL);
}

static int take(int fd, const char *line, char *answer, size_t size) {
    (void)fd;
    static unsigned runs;
    char way[32] = "";
    sscanf(line, "%31s", way);
    all->count = 0;
    for (int cell = 0; cell < 16; cell++) all->cells[cell] = mixed(cell, runs / 16);
    runs++;
    if (!strcmp(way, "memory")) with_children(race);
    else if (!strcmp(way, "flock")) with_children(by_flock);
    else if (!strcmp(way, "fcntl")) with_children(by_fcntl);
    else if (!strcmp(way, "mutex")) with_children(by_mutex);
    else if (!strcmp(way, "shell")) by_shell();
    else if (!strcmp(way, "supervisor")) by_supervisor();
    else if (!strcmp(way, "tree")) by_tree();
    else if (!strcmp(way, "many")) by_many();
    else if (!strcmp(way, "signals")) by_signals();
    else if (!strcmp(way, "timer")) by_timer();
    else if (!strcmp(way, "interrupts")) by_interrupts();
    else if (!strcmp(way, "profiler")) by_profiled();
    else return snprintf(answer, size, "no way: %s\n", way);
    uint64_t hash = all->count;
    for (unsigned i = 0; i < all->count && i < sizeof all->order; i++)
        hash = mixed(hash, all->order[i]);
    for (int cell = 0; cell < 16; cell++) hash = mixed(hash, all->cells[cell]);
    return snprintf(answer, size, "%016lx after %u\n", (unsigned long)hash, all->count);
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return 1;
    pthread_mutexattr_t how;
    pthread_mutexattr_init(&how);
    pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setprotocol(&how, PTHREAD_PRIO_INHERIT);
    if (pthread_mutex_init(&all->lock, &how)) return 1;
    serve_lines(listen_at(arguments[1]), take);
}
