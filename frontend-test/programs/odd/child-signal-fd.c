// kind: blocked signals of children, processes and timers: signalfd, sigpending, sigwait, unblocked
// needs: --floor
#define OWN_LISTENER
#include "odd.h"
#include <sys/signalfd.h>

static sigset_t set(int one, int two) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, one);
    if (two) sigaddset(&set, two);
    return set;
}

static int has_pending(int signal) {
    sigset_t pending;
    MUST(sigpending(&pending) == 0);
    return sigismember(&pending, signal);
}

/* Prints what there is to read, of these children or of the sender. */
static void show_read(int fd, pid_t one, pid_t other) {
    struct signalfd_siginfo seen[3];
    ssize_t size = read(fd, seen, sizeof seen);
    if (size < 0) return say("read: %s\n", strerrorname_np(errno));
    for (unsigned i = 0; i < size / sizeof *seen; i++) {
        say("read %u: code %d", seen[i].ssi_signo, seen[i].ssi_code);
        say(", of one %d", (pid_t)seen[i].ssi_pid == one || (pid_t)seen[i].ssi_pid == other);
        say(", status %d, value %d, user %d\n", seen[i].ssi_status, seen[i].ssi_int,
            seen[i].ssi_uid == getuid());
    }
}

static int wait_for(int fd, int milliseconds) {
    struct pollfd wanted = {fd, POLLIN, 0};
    return poll(&wanted, 1, milliseconds);
}

static pid_t child(int executes, int code) {
    fflush(stdout);
    pid_t made = fork();
    if (made != 0) return made;
    usleep(20000);
    if (executes) {
        execl("/bin/sh", "sh", "-c", code == 4 ? "exit 4" : "exit 5", NULL);
        _exit(99);
    }
    _exit(code);
}

/* The ends of children, of which each is told once, also when the kernel ends one late. */
static void ends(int fd, int executes) {
    int status;
    say("-- ends, of programs %d\n", executes);
    pid_t one = child(executes, 4);
    SHOW(wait_for(fd, 5000));
    SHOW(has_pending(SIGCHLD));
    show_read(fd, one, one);
    SHOW(has_pending(SIGCHLD));
    SHOW(waitpid(one, &status, 0) == one);
    SHOW(wait_for(fd, 150));
    show_read(fd, one, one);
    // Of two that nobody reads about, the first is told.
    one = child(executes, 4);
    siginfo_t info;
    SHOW(waitid(P_PID, one, &info, WEXITED | WNOWAIT));
    pid_t two = child(executes, 5);
    SHOW(waitid(P_PID, two, &info, WEXITED | WNOWAIT));
    say("%d %d\n", info.si_code, info.si_status);
    show_read(fd, one, two);
    SHOW(wait_for(fd, 150));
    SHOW(waitpid(-1, &status, 0) == one);
    SHOW(waitpid(-1, &status, 0) == two);
}

static volatile sig_atomic_t runs, code, status;
static void on_signal(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    runs++, code = info->si_code, status = info->si_status;
}

/* Blocked, waited for with another mask, and unblocked. */
static void handled(void) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigset_t none, all = set(SIGCHLD, 0), before;
    sigemptyset(&none);
    sigaction(SIGCHLD, &action, NULL);
    for (int executes = 0; executes < 2; executes++) {
        say("-- handled, of programs %d\n", executes);
        runs = 0;
        pid_t one = child(executes, 5);
        SHOW(sigsuspend(&none));
        say("runs %d: code %d status %d\n", runs, code, status);
        SHOW(waitpid(one, NULL, 0) == one);
        one = child(executes, 4);
        SHOW(waitpid(one, NULL, 0) == one);
        usleep(50000);
        say("runs %d\n", runs);
        SHOW(sigprocmask(SIG_UNBLOCK, &all, &before));
        say("runs %d: code %d status %d\n", runs, code, status);
        usleep(100000);
        SHOW(sigprocmask(SIG_SETMASK, &before, NULL));
        say("runs %d\n", runs);
    }
    signal(SIGCHLD, SIG_DFL);
}

static int acknowledged[2];

static void *in_epoll(void *argument) {
    struct epoll_event event = {.events = EPOLLIN}, seen;
    int fd = *(int *)argument, instance = epoll_create1(0);
    MUST(epoll_ctl(instance, EPOLL_CTL_ADD, fd, &event) == 0);
    for (int i = 0; i < 2; i++) {
        SHOW(epoll_wait(instance, &seen, 1, 5000));
        show_read(fd, getppid(), *((pid_t *)argument + 1));
        MUST(write(acknowledged[1], "a", 1) == 1);
    }
    return NULL;
}

/* Another process sends signals, while one thread is in poll or epoll and the other elsewhere. */
static void others(int fd) {
    char byte;
    int go[2];
    say("-- others\n");
    MUST(pipe(go) == 0 && pipe(acknowledged) == 0);
    fflush(stdout);
    pid_t parent = getpid(), sender = fork();
    if (sender == 0) {
        union sigval value = {.sival_int = 7};
        usleep(50000);
        MUST(kill(parent, SIGUSR1) == 0);
        await_sign(acknowledged[0]);
        usleep(50000);
        MUST(sigqueue(parent, SIGRTMIN, value) == 0);
        await_sign(acknowledged[0]);
        MUST(kill(parent, SIGUSR1) == 0 && kill(parent, SIGUSR1) == 0);
        MUST(sigqueue(parent, SIGRTMIN, value) == 0 && sigqueue(parent, SIGRTMIN, value) == 0);
        MUST(write(go[1], "x", 1) == 1);
        usleep(50000);
        MUST(kill(parent, SIGUSR2) == 0);
        for (;;) pause();
    }
    pthread_t thread;
    int of_thread[] = {fd, sender};
    start(&thread, in_epoll, of_thread);
    MUST(read(go[0], &byte, 1) == 1);
    pthread_join(thread, NULL);
    SHOW(wait_for(fd, 0));
    show_read(fd, parent, sender);
    SHOW(wait_for(fd, 0));
    sigset_t wanted = set(SIGUSR2, 0);
    siginfo_t info;
    SHOW(sigwaitinfo(&wanted, &info));
    say("code %d, of the sender %d\n", info.si_code, info.si_pid == sender);
    // One that is blocked ends the other process when it is not.
    SHOW(kill(sender, SIGKILL));
    SHOW(waitpid(sender, NULL, 0) == sender);
    SHOW(wait_for(fd, 5000));
    show_read(fd, sender, sender);
}

static void opened(int fd) {
    for (int way = 0; way < 3; way++) {
        int to[2], status;
        char byte;
        say("-- opened %d\n", way);
        MUST(pipe(to) == 0);
        fflush(stdout);
        pid_t one = fork();
        if (one == 0) {
            sigset_t all = set(SIGTERM, SIGHUP), none;
            sigemptyset(&none);
            sigprocmask(SIG_BLOCK, &all, NULL);
            MUST(write(to[1], "r", 1) == 1);
            while (!has_pending(SIGTERM)) usleep(10000);
            MUST(write(to[1], "p", 1) == 1);
            if (way == 0) sigprocmask(SIG_UNBLOCK, &all, NULL);
            if (way == 1) sigsuspend(&none);
            if (way == 2) ppoll(NULL, 0, NULL, &none);
            _exit(0);
        }
        MUST(read(to[0], &byte, 1) == 1);
        SHOW(kill(one, SIGTERM));
        MUST(read(to[0], &byte, 1) == 1);
        say("%c\n", byte);
        SHOW(waitpid(one, &status, 0) == one);
        say("signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : -1);
        SHOW(wait_for(fd, 5000));
        show_read(fd, one, one);
    }
}

static void next_program(void);

static void odd(void) {
    if (getenv("STAGE")) return next_program();
    listener = listen_at(AF_INET, port);
    sigset_t all = set(SIGCHLD, SIGUSR1);
    sigaddset(&all, SIGRTMIN);
    sigaddset(&all, SIGALRM);
    int fd = signalfd(-1, &all, SFD_NONBLOCK);
    sigaddset(&all, SIGUSR2);
    sigprocmask(SIG_BLOCK, &all, NULL);
    ends(fd, 0);
    ends(fd, 1);
    handled();
    others(fd);
    opened(fd);
    alarm_in(30);
    SHOW(wait_for(fd, 5000));
    show_read(fd, 0, 0);
    // Other wishes of the same descriptor.
    sigset_t only = set(SIGUSR2, 0);
    SHOW(signalfd(fd, &only, 0) == fd);
    kill(getpid(), SIGUSR2);
    kill(getpid(), SIGUSR1);
    SHOW(wait_for(fd, 0));
    show_read(fd, getpid(), getpid());
    SHOW(wait_for(fd, 0));
    SHOW(read(fd, &only, 3));
    SHOW(has_pending(SIGUSR1));
    // The next program of this process has what was pending.
    char text[32];
    siginfo_t info;
    pid_t one = child(1, 4);
    SHOW(waitid(P_PID, one, &info, WEXITED | WNOWAIT));
    usleep(50000);
    snprintf(text, sizeof text, "%d", one);
    setenv("STAGE", text, 1);
    fflush(stdout);
    execl("/proc/self/exe", "stage", "0", NULL);
}

static void next_program(void) {
    sigset_t all = set(SIGCHLD, 0);
    pid_t one = atoi(getenv("STAGE"));
    int fd = signalfd(-1, &all, SFD_NONBLOCK);
    SHOW(has_pending(SIGCHLD));
    SHOW(has_pending(SIGUSR1));
    SHOW(wait_for(fd, 0));
    show_read(fd, one, one);
    SHOW(wait_for(fd, 100));
    SHOW(waitpid(one, NULL, 0) == one);
}
