// kind: signals of descriptors (O_ASYNC, FIOASYNC, F_SETOWN, F_SETSIG) by what other processes do
// needs: --floor
#define PEER
#include "odd.h"

static volatile sig_atomic_t heard, code, band, of;
static void on_signal(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    heard++, code = info->si_code;
    if (code > 0 && code < SI_KERNEL) band = info->si_band, of = info->si_fd;
}

static void clear(void) { heard = code = band = of = 0; }

static void show_heard(const char *what, int fd) {
    say("%s: heard %d code %d band %x of it %d\n", what, heard, code, band, of == fd);
    clear();
}

/* A child that does one step for each sign, and says when it has done it. */
static int signs[2], done[2];
static pid_t worker(void (*step)(int, int), int fd, int steps) {
    MUST(pipe(signs) == 0 && pipe(done) == 0);
    fflush(stdout);
    pid_t made = fork();
    if (made != 0) return made;
    signal(SIGIO, SIG_IGN);
    for (int i = 0; i < steps; i++) {
        await_sign(signs[0]);
        step(fd, i);
        MUST(write(done[1], "d", 1) == 1);
    }
    pause();
    _exit(0);
}

static void let_step(void) {
    char byte;
    MUST(write(signs[1], "s", 1) == 1);
    while (read(done[0], &byte, 1) != 1) MUST(errno == EINTR);
    usleep(20000);
}

static void end_worker(pid_t made) {
    MUST(kill(made, SIGKILL) == 0);
    while (waitpid(made, NULL, 0) != made) MUST(errno == EINTR);
    for (int i = 0; i < 2; i++) close(signs[i]), close(done[i]);
}

static void set_async(int fd, int signal) {
    MUST(fcntl(fd, F_SETOWN, getpid()) == 0);
    if (signal) MUST(fcntl(fd, F_SETSIG, signal) == 0);
    MUST(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC) == 0);
}

static void write_then_shut(int fd, int step) {
    if (step < 3) MUST(write(fd, "x", 1) == 1);
    if (step == 3) MUST(shutdown(fd, SHUT_WR) == 0);
    if (step == 4) close(fd);
}

static void in_pair(int signal) {
    int pair[2], on = 1;
    char bytes[8];
    say("-- a pair, signal %d\n", signal != 0);
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    pid_t made = worker(write_then_shut, pair[1], 5);
    close(pair[1]);
    clear();
    let_step();
    show_heard("not on", pair[0]);
    SHOW(ioctl(pair[0], FIOASYNC, &on));
    SHOW(fcntl(pair[0], F_GETFL) & O_ASYNC ? 1 : 0);
    SHOW(fcntl(pair[0], F_SETOWN, getpid()));
    SHOW(fcntl(pair[0], F_GETOWN) == getpid());
    if (signal) SHOW(fcntl(pair[0], F_SETSIG, signal));
    let_step();
    show_heard("on", pair[0]);
    MUST(read(pair[0], bytes, sizeof bytes) == 2);
    let_step();
    show_heard("written", pair[0]);
    let_step();
    show_heard("shut", pair[0]);
    let_step();
    show_heard("closed", pair[0]);
    on = 0;
    SHOW(ioctl(pair[0], FIOASYNC, &on));
    SHOW(fcntl(pair[0], F_GETFL) & O_ASYNC ? 1 : 0);
    close(pair[0]);
    end_worker(made);
}

static void write_pipe(int fd, int step) {
    if (step < 2) MUST(write(fd, "abc", 3) == 3);
    else close(fd);
}

static void read_pipe(int fd, int step) {
    char bytes[3];
    if (step < 2) MUST(read(fd, bytes, 3) == 3);
    else close(fd);
}

static void in_pipes(void) {
    int ends[2];
    say("-- pipes\n");
    MUST(pipe(ends) == 0);
    set_async(ends[0], SIGRTMIN);
    pid_t made = worker(write_pipe, ends[1], 3);
    close(ends[1]);
    for (int i = 0; i < 3; i++) {
        let_step();
        show_heard("reader", ends[0]);
    }
    end_worker(made);
    close(ends[0]);
    MUST(pipe(ends) == 0);
    MUST(write(ends[1], "abcdef", 6) == 6);
    set_async(ends[1], SIGRTMIN);
    made = worker(read_pipe, ends[0], 3);
    close(ends[0]);
    clear();
    for (int i = 0; i < 3; i++) {
        let_step();
        show_heard("writer", ends[1]);
    }
    end_worker(made);
    close(ends[1]);
}

static void write_late(int fd, int step) {
    (void)step;
    usleep(50000);
    MUST(write(fd, "x", 1) == 1);
}

/* One that waits, blocks the signal, or has no owner. */
static void quiet(void) {
    int pair[2];
    char byte;
    say("-- waiting\n");
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    pid_t made = worker(write_late, pair[1], 4);
    set_async(pair[0], 0);
    MUST(write(signs[1], "s", 1) == 1);
    SHOW(read(pair[0], &byte, 1));
    show_heard("in read", pair[0]);
    await_sign(done[0]);
    struct pollfd wanted = {pair[0], POLLIN, 0};
    MUST(write(signs[1], "s", 1) == 1);
    SHOW(poll(&wanted, 1, 5000));
    show_heard("in poll", pair[0]);
    while (read(done[0], &byte, 1) != 1) MUST(errno == EINTR);
    MUST(read(pair[0], &byte, 1) == 1);
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigprocmask(SIG_BLOCK, &set, NULL);
    MUST(write(signs[1], "s", 1) == 1);
    SHOW(sigwaitinfo(&set, &info));
    say("code %d pid %d\n", info.si_code, info.si_pid);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    MUST(read(done[0], &byte, 1) == 1);
    MUST(read(pair[0], &byte, 1) == 1);
    SHOW(fcntl(pair[0], F_SETOWN, 0));
    let_step();
    show_heard("no owner", pair[0]);
    end_worker(made);
    close(pair[0]), close(pair[1]);
}

/* The owner is another process, a group, or a thread. */
static void owned_by_others(void) {
    int ends[2], back[2];
    char byte;
    say("-- others\n");
    for (int way = 0; way < 3; way++) {
        MUST(pipe(ends) == 0 && pipe(back) == 0);
        fflush(stdout);
        clear();
        pid_t owner = fork();
        if (owner == 0) {
            MUST(setpgid(0, 0) == 0);
            MUST(write(back[1], "r", 1) == 1);
            while (heard == 0) pause();
            byte = code == POLL_IN && of == ends[0] ? 'y' : 'n';
            MUST(write(back[1], &byte, 1) == 1);
            _exit(0);
        }
        MUST(read(back[0], &byte, 1) == 1);
        struct f_owner_ex thread = {F_OWNER_TID, owner};
        if (way == 0) SHOW(fcntl(ends[0], F_SETOWN, owner));
        if (way == 1) SHOW(fcntl(ends[0], F_SETOWN, -owner));
        if (way == 2) SHOW(fcntl(ends[0], F_SETOWN_EX, &thread));
        MUST(fcntl(ends[0], F_SETSIG, SIGRTMIN) == 0);
        MUST(fcntl(ends[0], F_SETFL, O_ASYNC) == 0);
        usleep(50000);
        MUST(write(ends[1], "x", 1) == 1);
        MUST(read(back[0], &byte, 1) == 1);
        say("the owner says %c, here %d\n", byte, heard);
        MUST(waitpid(owner, NULL, 0) == owner);
        close(ends[0]), close(ends[1]), close(back[0]), close(back[1]);
    }
}

static void others_kinds(void) {
    int on = 1, fd = eventfd(0, 0);
    say("-- no kind of it\n");
    SHOW(ioctl(fd, FIOASYNC, &on));
    SHOW(fcntl(fd, F_SETFL, O_ASYNC));
    SHOW(fcntl(fd, F_GETFL) & O_ASYNC ? 1 : 0);
    close(fd);
    clear();
    fd = taken();
    set_async(fd, SIGRTMIN);
    put(fd, "s");
    while (heard == 0) pause();
    say("a client: code %d band %x of it %d\n", code, band, of == fd);
    char byte;
    SHOW(read(fd, &byte, 1));
    close(fd);
}

static void peer(void) {
    int fd = dial();
    await_sign(fd);
    usleep(50000);
    put(fd, "x");
    drain(fd);
    close(fd);
}

static void odd(void) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigaction(SIGIO, &action, NULL);
    sigaction(SIGRTMIN, &action, NULL);
    in_pair(0);
    in_pair(SIGRTMIN);
    in_pipes();
    quiet();
    owned_by_others();
    others_kinds();
}
