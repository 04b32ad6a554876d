// kind: processes by descriptors: their ends in poll and epoll, signals, waitid, clone, pidfd_getfd
// needs: --floor
#define OWN_LISTENER
#include "odd.h"
#include <sched.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef PIDFD_NONBLOCK
#define PIDFD_NONBLOCK O_NONBLOCK
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif

static int open_of(pid_t process, unsigned flags) {
    return syscall(SYS_pidfd_open, process, flags);
}

static int send_to(int fd, int signal, siginfo_t *info, unsigned flags) {
    return syscall(SYS_pidfd_send_signal, fd, signal, info, flags);
}

static int ready(int fd, int milliseconds) {
    struct pollfd wanted = {fd, POLLIN, 0};
    int count = poll(&wanted, 1, milliseconds);
    return count > 0 ? wanted.revents & POLLIN : count;
}

/* A child that ends when it reads this. */
static pid_t child(int *go) {
    int ends[2];
    char code;
    MUST(pipe(ends) == 0);
    fflush(stdout);
    pid_t made = fork();
    if (made == 0) {
        MUST(read(ends[0], &code, 1) == 1);
        _exit(code);
    }
    close(ends[0]);
    *go = ends[1];
    return made;
}

static void end(int go, char code) {
    MUST(write(go, &code, 1) == 1);
    close(go);
}

static void *in_epoll(void *argument) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 5}, seen;
    int instance = epoll_create1(0);
    MUST(epoll_ctl(instance, EPOLL_CTL_ADD, *(int *)argument, &event) == 0);
    SHOW(epoll_wait(instance, &seen, 1, 0));
    SHOW(epoll_wait(instance, &seen, 1, 5000));
    say("%u %d\n", seen.data.u32, seen.events & EPOLLIN);
    close(instance);
    return NULL;
}

static void ends(void) {
    int go, other_go;
    char byte;
    siginfo_t info;
    pthread_t thread;
    say("-- ends\n");
    pid_t one = child(&go), other = child(&other_go);
    int fd = open_of(one, 0), at_once = open_of(other, PIDFD_NONBLOCK);
    MUST(fd >= 0 && at_once >= 0);
    SHOW(ready(fd, 0));
    SHOW(read(fd, &byte, 1));
    SHOW(write(fd, &byte, 1));
    SHOW(waitid(P_PIDFD, fd, &info, WEXITED | WNOHANG));
    SHOW(waitid(P_PIDFD, at_once, &info, WEXITED));
    start(&thread, in_epoll, &fd);
    usleep(50000);
    end(go, 7);
    pthread_join(thread, NULL);
    SHOW(ready(fd, 0));
    SHOW(ready(at_once, 0));
    // It has ended, and nobody has waited for it.
    int late = open_of(one, 0);
    SHOW(ready(late, 0));
    SHOW(send_to(fd, SIGTERM, NULL, 0));
    SHOW(waitid(P_PIDFD, fd, &info, WEXITED | WNOWAIT));
    SHOW(waitid(P_PIDFD, fd, &info, WEXITED));
    say("%d %d %d\n", info.si_code, info.si_status, info.si_pid == one);
    SHOW(waitid(P_PIDFD, fd, &info, WEXITED));
    SHOW(send_to(fd, SIGTERM, NULL, 0));
    SHOW(open_of(one, 0));
    SHOW(ready(late, 0));
    end(other_go, 8);
    SHOW(ready(at_once, 5000));
    SHOW(waitid(P_PIDFD, at_once, &info, WEXITED));
    say("%d %d\n", info.si_code, info.si_status);
    close(late), close(fd), close(at_once);
}

/* One that has executed a program, and one that is no child. */
static void strangers(void) {
    int go, status;
    say("-- strangers\n");
    pid_t one = child(&go);
    fflush(stdout);
    pid_t watcher = fork();
    if (watcher == 0) {
        int fd = open_of(one, 0);
        siginfo_t info;
        SHOW(ready(fd, 0));
        end(go, 9);
        SHOW(ready(fd, 5000));
        SHOW(waitid(P_PIDFD, fd, &info, WEXITED));
        fflush(stdout);
        _exit(0);
    }
    close(go);
    SHOW(waitpid(watcher, &status, 0) == watcher);
    SHOW(waitpid(one, &status, 0) == one);
    one = fork();
    if (one == 0) {
        execl("/bin/sh", "sh", "-c", "sleep 0.1; exit 6", NULL);
        _exit(99);
    }
    int fd = open_of(one, 0);
    siginfo_t info;
    SHOW(ready(fd, 5000));
    SHOW(waitid(P_PIDFD, fd, &info, WEXITED));
    say("%d %d\n", info.si_code, info.si_status);
    close(fd);
}

static volatile sig_atomic_t heard, code, value;
static void on_signal(int signal, siginfo_t *info, void *context) {
    (void)context;
    heard = signal, code = info->si_code, value = info->si_value.sival_int;
}

static void signals(void) {
    int to[2], told[3];
    char byte;
    siginfo_t info = {.si_signo = SIGUSR1, .si_code = SI_QUEUE};
    info.si_value.sival_int = 3;
    say("-- signals\n");
    MUST(pipe(to) == 0);
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, NULL);
    fflush(stdout);
    pid_t one = fork();
    if (one == 0) {
        MUST(write(to[1], "r", 1) == 1);
        for (;;) {
            while (!heard) pause();
            int told[] = {heard, code, code == SI_QUEUE ? value : 0};
            heard = 0;
            MUST(write(to[1], told, sizeof told) == sizeof told);
        }
    }
    int fd = open_of(one, 0);
    MUST(read(to[0], &byte, 1) == 1);
    usleep(50000);
    SHOW(send_to(fd, 0, NULL, 0));
    SHOW(send_to(fd, 99, NULL, 0));
    SHOW(send_to(fd, SIGUSR1, NULL, 1 << 20));
    SHOW(send_to(to[0], SIGUSR1, NULL, 0));
    SHOW(send_to(-1, SIGUSR1, NULL, 0));
    SHOW(send_to(fd, SIGUSR1, NULL, 0));
    MUST(read(to[0], told, sizeof told) == sizeof told);
    say("heard %d code %d value %d\n", told[0], told[1], told[2]);
    usleep(50000);
    SHOW(send_to(fd, SIGUSR1, &info, 0));
    MUST(read(to[0], told, sizeof told) == sizeof told);
    say("heard %d code %d value %d\n", told[0], told[1], told[2]);
    SHOW(send_to(fd, SIGUSR2, &info, 0));
    info.si_code = SI_USER;
    SHOW(send_to(fd, SIGUSR1, &info, 0));
    SHOW(send_to(fd, SIGKILL, NULL, 0));
    SHOW(ready(fd, 5000));
    SHOW(waitid(P_PIDFD, fd, &info, WEXITED));
    say("%d %d\n", info.si_code, info.si_status);
    close(fd);
}

static void clones(void) {
    siginfo_t info;
    say("-- clones\n");
    for (int way = 0; way < 2; way++) {
        int fd = -1;
        const struct attempt make = TRY(clone, CLONE_PIDFD | SIGCHLD, 0, AT(&fd), 0, 0);
        fflush(stdout);
        long one = way == 0 ? by_number(&make) : by_instruction(&make);
        if (one == 0) {
            usleep(50000);
            _exit(4);
        }
        MUST(one > 0 && fd >= 0);
        SHOW(fcntl(fd, F_GETFD));
        SHOW(ready(fd, 0));
        SHOW(ready(fd, 5000));
        SHOW(waitid(P_PIDFD, fd, &info, WEXITED));
        say("%d %d %d\n", info.si_code, info.si_status, info.si_pid == one);
        close(fd);
    }
    int fd = -1;
    const struct attempt bad =
        TRY(clone, CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, 0, AT(&fd), 0, 0);
    show_attempt("number", &bad, by_number(&bad));
}

static void taken_from(void) {
    int go, status;
    char text[8] = "";
    say("-- descriptors of another process\n");
    int ends[2], back[2];
    MUST(pipe(back) == 0);
    fflush(stdout);
    pid_t one = fork();
    if (one == 0) {
        MUST(pipe(ends) == 0);
        MUST(write(back[1], ends, sizeof ends) == sizeof ends);
        MUST(read(ends[0], text, 5) == 5);
        _exit(strcmp(text, "hello") == 0 ? 0 : 1);
    }
    MUST(read(back[0], ends, sizeof ends) == sizeof ends);
    int fd = open_of(one, 0);
    SHOW(syscall(SYS_pidfd_getfd, fd, 999, 0));
    SHOW(syscall(SYS_pidfd_getfd, fd, ends[1], 1));
    go = syscall(SYS_pidfd_getfd, fd, ends[1], 0);
    OK(go);
    usleep(50000);
    SHOW(write(go, "hello", 5));
    SHOW(waitpid(one, &status, 0) == one);
    say("the other has read it %d\n", status == 0);
    close(go), close(fd);
}

static void odd(void) {
    listener = listen_at(AF_INET, port);
    SHOW(open_of(0, 0));
    SHOW(open_of(-5, 0));
    SHOW(open_of(getpid(), 1));
    SHOW(ready(open_of(getpid(), 0), 0));
    ends();
    strangers();
    signals();
    clones();
    taken_from();
}
