/*
 * A server whose answers depend on when its timers expire among its threads.
 *
 * While a connection is open, four timers run, each with an interval. The timer of setitimer sends
 * SIGALRM to the process. Of the timers of timer_create, one sends SIGUSR1 to the process, one
 * sends SIGUSR2 to a thread that sleeps in nanosleep, and one calls a function in a thread of its
 * own. Each handler writes the number of its thread to a pipe, which a thread reads, and all
 * threads mix the numbers into one sum. Each request is one line, for which the thread of the
 * connection takes the lock ROUNDS times and sleeps now and then. The answer has the change of the
 * sum, and the number of times that each timer expired.
 *
 * Compiled with -DUNSEEN, the program makes the timers by its own instructions, which no library
 * sees. They expire by the kernel's clock. The timer that calls a function is missing, because the
 * kernel has no such timers.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { ROUNDS = 24, TIMERS = 3 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long sum;
static int seen[TIMERS + 1], active, ends[2];
static volatile pid_t sleeper;
static __thread char self = 'm';

static void mix(unsigned long what) {
    pthread_mutex_lock(&lock);
    sum = sum * 1000003 + what;
    pthread_mutex_unlock(&lock);
}

static void count(int timer) {
    pthread_mutex_lock(&lock);
    seen[timer]++;
    pthread_mutex_unlock(&lock);
}

static unsigned long sum_now(void) {
    pthread_mutex_lock(&lock);
    unsigned long now = sum;
    pthread_mutex_unlock(&lock);
    return now;
}

static void on_signal(int signal, siginfo_t *info, void *context) {
    char bytes[2] = {(char)signal, self};
    if (write(ends[1], bytes, sizeof bytes) != sizeof bytes) _exit(3);
}

#ifdef UNSEEN
typedef int handle_of_timer;

static long call(long number, long a, long b, long c, long d) {
    register long fourth __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "+a"(number)
                     : "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return number;
}

static int make(struct sigevent *event, handle_of_timer *timer) {
    return call(SYS_timer_create, CLOCK_MONOTONIC, (long)event, (long)timer, 0);
}

static int start(handle_of_timer timer, struct itimerspec *time) {
    return call(SYS_timer_settime, timer, 0, (long)time, 0);
}

static int start_alarm(struct itimerval *time) {
    return call(SYS_setitimer, ITIMER_REAL, (long)time, 0, 0);
}
#else
typedef timer_t handle_of_timer;

static int make(struct sigevent *event, handle_of_timer *timer) {
    return timer_create(CLOCK_MONOTONIC, event, timer);
}

static int start(handle_of_timer timer, struct itimerspec *time) {
    return timer_settime(timer, 0, time, NULL);
}

static int start_alarm(struct itimerval *time) { return setitimer(ITIMER_REAL, time, NULL); }

static void expired(union sigval value) {
    mix(700 + value.sival_int);
    count(3);
}
#endif

static handle_of_timer timers[TIMERS];
static int made;

static void make_timers(void) {
    struct sigevent process = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct sigevent thread = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2};
    thread.sigev_notify_thread_id = sleeper;
    if (make(&process, &timers[made++]) || make(&thread, &timers[made++])) _exit(4);
#ifndef UNSEEN
    struct sigevent function = {.sigev_notify = SIGEV_THREAD, .sigev_value.sival_int = 7};
    function.sigev_notify_function = expired;
    if (make(&function, &timers[made++])) _exit(4);
#endif
}

/* Starts all timers, or stops them. The caller holds the lock. */
static void run_timers(int run) {
    struct itimerval alarm = {{0, 3000 * run}, {0, 2000 * run}};
    if (start_alarm(&alarm)) _exit(5);
    for (int at = 0; at < made; at++) {
        struct itimerspec time = {{0, (4000000 + at * 1100000) * run}, {0, 1500000 * run}};
        if (start(timers[at], &time)) _exit(5);
    }
}

static void *read_pipe(void *argument) {
    self = 'r';
    for (;;) {
        unsigned char bytes[2];
        if (read(ends[0], bytes, sizeof bytes) != sizeof bytes) _exit(6);
        mix(bytes[0] * 256 + bytes[1]);
        count(bytes[0] == SIGALRM ? 0 : bytes[0] == SIGUSR1 ? 1 : 2);
    }
    return argument;
}

static void *sleep_on(void *argument) {
    self = 's', sleeper = syscall(SYS_gettid);
    for (;;) {
        struct timespec time = {60, 0}, left = {0, 0};
        if (nanosleep(&time, &left)) mix(left.tv_sec * 1000000000 + left.tv_nsec);
    }
    return argument;
}

static void *serve(void *argument) {
    int fd = (int)(long)argument;
    char line[256];
    size_t length = 0;
    self = 'c';
    pthread_mutex_lock(&lock);
    if (active++ == 0) run_timers(1);
    pthread_mutex_unlock(&lock);
    while (length < sizeof line && read(fd, &line[length], 1) == 1) {
        if (line[length++] != '\n') continue;
        unsigned long first = sum_now();
        for (int round = 0; round < ROUNDS; round++) {
            mix(round);
            if (round % 8 == 7) usleep(500);
        }
        char answer[400];
        pthread_mutex_lock(&lock);
        int size = snprintf(answer, sizeof answer, "%.*s moved %lu to %lu, seen %d %d %d %d\n",
                            (int)length - 1, line, first, sum, seen[0], seen[1], seen[2], seen[3]);
        pthread_mutex_unlock(&lock);
        for (int sent = 0; sent < size;) {
            ssize_t part = write(fd, answer + sent, size - sent);
            if (part <= 0) break;
            sent += part;
        }
        length = 0;
    }
    pthread_mutex_lock(&lock);
    if (--active == 0) run_timers(0);
    pthread_mutex_unlock(&lock);
    close(fd);
    return NULL;
}

static void handle(int number) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(number, &action, NULL);
}

int main(int count, char **arguments) {
    pthread_t thread;
    if (count != 2 || pipe(ends)) return 2;
    handle(SIGALRM), handle(SIGUSR1), handle(SIGUSR2);
    if (pthread_create(&thread, NULL, read_pipe, NULL)) return 2;
    if (pthread_create(&thread, NULL, sleep_on, NULL)) return 2;
    while (!sleeper) usleep(1000);
    make_timers();
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(atoi(arguments[1])),
                                  .sin_addr = {htonl(INADDR_ANY)}};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) {
        perror("bind");
        return 1;
    }
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        if (pthread_create(&thread, NULL, serve, (void *)(long)fd)) return 1;
        pthread_detach(thread);
    }
}
