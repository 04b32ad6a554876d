// kind: processes that a signal stops and lets go on, and what their parents hear and wait for
// needs: --floor
#include "odd.h"

static volatile sig_atomic_t heard, code, status;
static void on_child(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    heard++, code = info->si_code, status = info->si_status;
}

static volatile sig_atomic_t continued;
static void on_continue(int signal) { (void)signal, continued++; }

static volatile long *counted;

/* Waits for a child in these ways, and prints what it hears. */
static void show_wait(pid_t child, int options) {
    int result;
    pid_t found = waitpid(child, &result, options);
    if (found <= 0) return say("wait: %s\n", found < 0 ? strerrorname_np(errno) : "nothing");
    if (WIFSTOPPED(result)) say("wait: stopped by %d\n", WSTOPSIG(result));
    else if (WIFCONTINUED(result)) say("wait: goes on\n");
    else if (WIFSIGNALED(result)) say("wait: signal %d\n", WTERMSIG(result));
    else say("wait: exited %d\n", WEXITSTATUS(result));
}

static void show_heard(void) {
    say("heard %d code %d status %d\n", heard, code, status);
    heard = code = status = 0;
}

static void hear(int flags) {
    struct sigaction action = {.sa_sigaction = on_child, .sa_flags = SA_SIGINFO | flags};
    MUST(sigaction(SIGCHLD, &action, NULL) == 0);
    heard = code = status = 0;
}

static pid_t counter(void) {
    fflush(stdout);
    pid_t made = fork();
    if (made != 0) return made;
    MUST(setpgid(0, 0) == 0);
    handle(SIGCONT, on_continue, SA_RESTART);
    for (;;) {
        counted[0]++;
        counted[1] = continued;
        usleep(1000);
    }
}

static void stops_and_goes_on(int flags, int signal) {
    say("-- flags %d, signal %d\n", flags != 0, signal);
    hear(SA_RESTART | flags);
    counted[0] = counted[1] = 0;
    pid_t child = counter();
    while (counted[0] < 3) usleep(1000);
    SHOW(kill(child, signal));
    usleep(50000);
    show_heard();
    long before = counted[0];
    usleep(50000);
    SHOW(counted[0] == before);
    show_wait(child, WNOHANG);
    show_wait(child, WUNTRACED);
    show_wait(child, WNOHANG | WUNTRACED);
    siginfo_t info = {0};
    SHOW(kill(child, SIGCONT));
    for (int i = 0; i < 3000 && (counted[0] <= before || !counted[1]); i++) usleep(1000);
    show_heard();
    SHOW(counted[0] > before);
    SHOW(counted[1]);
    SHOW(waitid(P_PID, child, &info, WCONTINUED | WNOWAIT));
    say("%d %d %d\n", info.si_code, info.si_status, info.si_pid == child);
    show_wait(-1, WCONTINUED);
    show_wait(-1, WCONTINUED | WUNTRACED | WNOHANG);
    // One that is stopped can be ended, and another signal only waits.
    SHOW(kill(child, SIGSTOP));
    SHOW(waitid(P_PID, child, &info, WSTOPPED));
    say("%d %d\n", info.si_code, info.si_status);
    SHOW(kill(child, SIGTERM));
    usleep(50000);
    show_wait(child, WNOHANG);
    SHOW(kill(child, SIGKILL));
    show_wait(child, 0);
    show_wait(child, WUNTRACED);
}

/* A process stops itself. Its parent sees that by wait alone. */
static void stops_itself(void) {
    say("-- itself\n");
    signal(SIGCHLD, SIG_DFL);
    for (int way = 0; way < 3; way++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            MUST(setpgid(0, 0) == 0);
            if (way == 2) {
                sigset_t set;
                sigemptyset(&set);
                sigaddset(&set, SIGTSTP);
                sigprocmask(SIG_BLOCK, &set, NULL);
                raise(SIGTSTP);
                _exit(3);
            }
            raise(way == 0 ? SIGSTOP : SIGTSTP);
            _exit(way + 5);
        }
        show_wait(child, WUNTRACED);
        if (way < 2) {
            SHOW(kill(child, SIGCONT));
            show_wait(child, 0);
        }
    }
}

static void *writes(void *argument) {
    int *ends = argument;
    usleep(50000);
    MUST(write(ends[1], "x", 1) == 1);
    return NULL;
}

/* One that is stopped in a call gets its answer when it goes on; so do all its threads. */
static void in_a_call(void) {
    int to[2], back[2];
    char bytes[2];
    say("-- in a call\n");
    MUST(pipe(to) == 0 && pipe(back) == 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        start(&thread, writes, back);
        MUST(read(to[0], bytes, 1) == 1);
        MUST(write(back[1], bytes, 1) == 1);
        pthread_join(thread, NULL);
        for (;;) pause();
    }
    usleep(10000);
    SHOW(kill(child, SIGSTOP));
    SHOW(kill(child, SIGSTOP));
    show_wait(child, WUNTRACED);
    MUST(write(to[1], "y", 1) == 1);
    struct pollfd wanted = {back[0], POLLIN, 0};
    SHOW(poll(&wanted, 1, 150));
    SHOW(kill(child, SIGCONT));
    get(back[0], bytes, 2);
    SHOW(bytes[0] + bytes[1] == 'x' + 'y');
    MUST(kill(child, SIGKILL) == 0);
    while (waitpid(child, NULL, 0) != child) MUST(errno == EINTR);
}

static void odd(void) {
    counted = shared_memory(4096);
    stops_and_goes_on(0, SIGSTOP);
    stops_and_goes_on(SA_NOCLDSTOP, SIGTSTP);
    stops_and_goes_on(0, SIGTTIN);
    stops_itself();
    in_a_call();
    SHOW(waitpid(-1, NULL, WUNTRACED));
}
