/*
 * A server whose answers depend on when signals reach its threads.
 *
 * Beside a thread for each connection, the server has four workers: one sleeps in poll on a
 * self-pipe, one in sem_wait, one in sigwait, and one on a condition. Each request is one line, for
 * which the thread sends ROUNDS signals in turn to the workers and to the process. The handlers
 * write to the self-pipe, post the semaphore, and mix the number of their thread into one sum, as
 * do the workers when they wake. The answer has the change of the sum.
 *
 * Compiled with -DUNSEEN, the program sends the signals by its own instruction, which no library
 * sees. They arrive at any time, and the replicas differ.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>
#include "serve.h"

enum { ROUNDS = 60, WORKERS = 4 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t news = PTHREAD_COND_INITIALIZER;
static pthread_t workers[WORKERS];
static pid_t numbers[WORKERS];
static sem_t posted;
static int ends[2];
static volatile unsigned long sum;
static __thread unsigned long self;

static void mix(unsigned long what) { sum = sum * 1000003 + what; }

static void on_signal(int signal) {
    char byte = (char)self;
    mix(self * 100 + signal);
    if (write(ends[1], &byte, 1) != 1) _exit(3);
    sem_post(&posted);
}

static void *poll_pipe(void *argument) {
    self = 1, numbers[0] = syscall(SYS_gettid);
    for (;;) {
        char bytes[64];
        struct pollfd wanted = {ends[0], POLLIN, 0};
        if (poll(&wanted, 1, -1) != 1) {
            mix(11);
            continue;
        }
        ssize_t length = read(ends[0], bytes, sizeof bytes);
        for (ssize_t at = 0; at < length; at++) mix(200 + bytes[at]);
    }
    return argument;
}

static void *await_post(void *argument) {
    self = 2, numbers[1] = syscall(SYS_gettid);
    for (;;) mix(sem_wait(&posted) ? 12 : 13);
    return argument;
}

static void *await_signal(void *argument) {
    self = 3, numbers[2] = syscall(SYS_gettid);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (;;) {
        int number;
        if (sigwait(&set, &number) == 0) mix(300 + number);
        pthread_cond_broadcast(&news);
    }
    return argument;
}

static void *await_news(void *argument) {
    self = 4, numbers[3] = syscall(SYS_gettid);
    pthread_mutex_lock(&lock);
    for (;;) {
        pthread_cond_wait(&news, &lock);
        mix(14);
    }
    return argument;
}

static void send_to(int worker) {
#ifdef UNSEEN
    long own = getpid();
    register long process __asm__("rdi") = own;
    register long thread __asm__("rsi") = numbers[worker];
    register long signal __asm__("rdx") = SIGUSR1;
    register long number __asm__("rax") = SYS_tgkill;
    __asm__ volatile("syscall"
                     : "+r"(number)
                     : "r"(process), "r"(thread), "r"(signal)
                     : "rcx", "r11", "memory");
    if (number) _exit(4);
#else
    pthread_kill(workers[worker], SIGUSR1);
#endif
}

static void *serve(void *argument) {
    int fd = (int)(long)argument;
    char line[256];
    size_t length = 0;
    self = 5;
    while (length < sizeof line && read(fd, &line[length], 1) == 1) {
        if (line[length++] != '\n') continue;
        unsigned long first = sum;
        for (int round = 0; round < ROUNDS; round++) {
            send_to(round % WORKERS);
            if (round % 10 == 9) kill(getpid(), SIGUSR2);
            if (round % 7 == 6) sched_yield();
        }
        char answer[400];
        int size = snprintf(answer, sizeof answer, "%.*s moved %lu to %lu\n", (int)length - 1,
                            line, first, sum);
        for (int sent = 0; sent < size;) {
            ssize_t part = write(fd, answer + sent, size - sent);
            if (part <= 0) break;
            sent += part;
        }
        length = 0;
    }
    close(fd);
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 2 || pipe(ends) || sem_init(&posted, 0, 0)) return 2;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR2, &action, NULL);
    void *(*routines[WORKERS])(void *) = {poll_pipe, await_post, await_signal, await_news};
    for (int at = 0; at < WORKERS; at++)
        if (pthread_create(&workers[at], NULL, routines[at], NULL)) return 2;
    return serve_each(listen_at(arguments[1]), serve);
}
