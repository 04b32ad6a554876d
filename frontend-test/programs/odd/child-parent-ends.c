// kind: the signal at the end of the parent (PR_SET_PDEATHSIG), of a thread and of a process
#define OWN_LISTENER
#include "odd.h"
#include <sys/prctl.h>

static int said[2], go[2];

static void tell(const char *format, ...) {
    char text[128];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    MUST(write(said[1], text, length) == length);
}

static volatile sig_atomic_t heard, code;
static volatile pid_t from;
static void on_signal(int signal, siginfo_t *info, void *context) {
    (void)context;
    heard = signal, code = info->si_code, from = info->si_pid;
}

static int wish(void) {
    int signal = -1;
    MUST(prctl(PR_GET_PDEATHSIG, &signal) == 0);
    return signal;
}

static void *look(void *argument) {
    *(int *)argument = wish();
    return NULL;
}

/* Prints what the children say until the last of them has ended. */
static void listen_to_all(void) {
    char byte;
    close(said[1]);
    while (read(said[0], &byte, 1) == 1) say("%c", byte);
    close(said[0]);
    while (waitpid(-1, NULL, 0) > 0) {}
}

static void begin(void) {
    MUST(pipe(said) == 0 && pipe(go) == 0);
    fflush(stdout);
}

/* Waits for a signal by a handler, and tells of it. */
static void await_signal(pid_t parent) {
    heard = 0;
    while (!heard) pause();
    tell("heard %d code %d of the parent %d\n", heard, code, from == parent);
}

static void errors(void) {
    int place = -1;
    SHOW(prctl(PR_SET_PDEATHSIG, 65));
    SHOW(prctl(PR_GET_PDEATHSIG, 8));
    SHOW(prctl(PR_SET_PDEATHSIG, SIGUSR2));
    const struct attempt get = TRY(prctl, PR_GET_PDEATHSIG, AT(&place));
    const struct attempt set = TRY(prctl, PR_SET_PDEATHSIG, 0);
    show_attempt("number", &get, by_number(&get));
    say("%d\n", place);
    show_attempt("instruction", &set, by_instruction(&set));
    place = -1;
    show_attempt("instruction", &get, by_instruction(&get));
    say("%d\n", place);
}

/* A process ends, and its child hears of it; so does nobody who has not asked. */
static void of_processes(void) {
    char byte;
    begin();
    pid_t middle = fork();
    if (middle == 0) {
        for (int number = 0; number < 2; number++) {
            if (fork() != 0) continue;
            if (number == 0) {
                MUST(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
                int of_thread = -1;
                pthread_t thread;
                start(&thread, look, &of_thread);
                pthread_join(thread, NULL);
                tell("wish %d, of a thread %d\n", wish(), of_thread);
                pid_t below = fork();
                if (below == 0) {
                    tell("of a child %d\n", wish());
                    _exit(0);
                }
                MUST(waitpid(below, NULL, 0) == below);
            }
            pid_t parent = getppid();
            MUST(write(go[1], "r", 1) == 1);
            if (number == 0) await_signal(parent);
            close(said[1]);
            _exit(0);
        }
        for (int i = 0; i < 2; i++) MUST(read(go[0], &byte, 1) == 1);
        usleep(50000);
        _exit(0);
    }
    listen_to_all();
}

static pid_t made;
static int way;
static void *make(void *argument) {
    char byte;
    made = fork();
    if (made == 0) {
        pid_t parent = getppid();
        MUST(prctl(PR_SET_PDEATHSIG, way == 0 ? SIGUSR1 : SIGUSR2) == 0);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR2);
        sigprocmask(SIG_BLOCK, &set, NULL);
        MUST(write(go[1], "r", 1) == 1);
        if (way == 0) {
            await_signal(parent);
            tell("the same parent %d\n", getppid() == parent);
            MUST(write(go[1], "r", 1) == 1);
            await_signal(parent);
        } else {
            siginfo_t info;
            int signal = sigwaitinfo(&set, &info);
            tell("waited for %d, code %d, of the parent %d\n", signal, info.si_code,
                 info.si_pid == parent);
            tell("the same parent %d\n", getppid() == parent);
        }
        _exit(0);
    }
    MUST(read(go[0], &byte, 1) == 1);
    usleep(50000);
    return argument;
}

/* The thread that has made a process ends, and then its process. */
static void of_threads(void) {
    for (way = 0; way < 2; way++) {
        begin();
        if (fork() == 0) {
            char byte;
            pthread_t thread;
            start(&thread, make, NULL);
            pthread_join(thread, NULL);
            if (way == 0) MUST(read(go[0], &byte, 1) == 1);
            else waitpid(made, NULL, 0);
            usleep(50000);
            _exit(0);
        }
        listen_to_all();
    }
}

/* A signal without a handler ends the child, which another program has replaced meanwhile. */
static void of_programs(void) {
    char byte;
    begin();
    if (fork() == 0) {
        pid_t child = fork();
        if (child == 0) {
            char text[32];
            MUST(prctl(PR_SET_PDEATHSIG, SIGTERM) == 0);
            snprintf(text, sizeof text, "%d %d", said[1], go[1]);
            setenv("STAGE", text, 1);
            execl("/proc/self/exe", "stage", NULL);
            _exit(9);
        }
        MUST(read(go[0], &byte, 1) == 1);
        usleep(50000);
        _exit(0);
    }
    listen_to_all();
}

static void odd(void) {
    if (getenv("STAGE")) {
        MUST(sscanf(getenv("STAGE"), "%d %d", &said[1], &go[1]) == 2);
        tell("the next program's wish %d\n", wish());
        MUST(write(go[1], "r", 1) == 1);
        for (;;) pause();
    }
    listener = listen_at(AF_INET, port);
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, NULL);
    errors();
    of_processes();
    of_threads();
    of_programs();
}
