// kind: signals, timers and queues by their numbers: records, pending sets, signalfd4, timer_create
#include "odd.h"
#include <mqueue.h>
#include <sys/signalfd.h>

static volatile int seen, value, code;

static void on_signal(int signal, siginfo_t *info, void *context) {
    (void)context;
    seen = signal;
    value = info->si_value.sival_int;
    code = info->si_code;
}

static siginfo_t record(int number) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_value.sival_int = number;
    return info;
}

static void odd(void) {
    struct { void *handler; unsigned long flags; void *restorer; uint64_t mask; } before;
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    struct itimerspec once = {.it_value = {0, 20 * 1000000}}, left;
    struct timespec limit = {5, 0};
    struct signalfd_siginfo of_signal;
    struct mq_attr attributes = {.mq_maxmsg = 3, .mq_msgsize = 8}, found;
    uint64_t mask = 1ull << (SIGUSR2 - 1), pending = 0;
    int timer = -1, descriptor;
    siginfo_t info = record(41);

    action.sa_sigaction = on_signal;
    MUST(sigaction(SIGUSR1, &action, NULL) == 0);
    SHOW(syscall(SYS_rt_sigaction, SIGUSR1, NULL, &before, 8));
    say("%d %lx\n", before.handler == (void *)on_signal, before.flags & SA_SIGINFO);
    SHOW(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &info));
    say("%d %d %d\n", seen, value, code == SI_QUEUE);
    info = record(42);
    SHOW(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGUSR1, &info));
    say("%d %d\n", seen, value);

    SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &mask, NULL, 8));
    info = record(43);
    SHOW(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR2, &info));
    SHOW(syscall(SYS_rt_sigpending, &pending, 8));
    say("%d\n", pending == mask);
    SHOW(syscall(SYS_rt_sigpending, &pending, 4));
    SHOW(syscall(SYS_rt_sigtimedwait, &mask, &info, &limit, 8));
    say("%d\n", info.si_value.sival_int);

    MUST((descriptor = (int)syscall(SYS_signalfd4, -1, &mask, 8, SFD_CLOEXEC)) >= 0);
    SHOW(syscall(SYS_signalfd4, -1, &mask, 4, 0));
    SHOW(syscall(SYS_signalfd4, -1, &mask, 8, 77));

    MUST(syscall(SYS_timer_create, CLOCK_MONOTONIC, &(struct sigevent){
        .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2,
        .sigev_value.sival_int = 44}, &timer) == 0);
    SHOW(syscall(SYS_timer_gettime, timer, &left));
    say("%ld %ld\n", left.it_value.tv_sec, left.it_value.tv_nsec);
    SHOW(syscall(SYS_timer_settime, timer, 0, &once, NULL));
    MUST(read(descriptor, &of_signal, sizeof of_signal) == sizeof of_signal);
    say("%u %d\n", of_signal.ssi_signo, of_signal.ssi_int);
    SHOW(syscall(SYS_timer_getoverrun, timer));
    SHOW(syscall(SYS_timer_settime, timer, 0, &(struct itimerspec){.it_value = {-1, 0}}, NULL));
    SHOW(syscall(SYS_timer_delete, timer));
    SHOW(syscall(SYS_timer_create, 77, NULL, &timer));
    SHOW(syscall(SYS_timer_create, CLOCK_MONOTONIC, &(struct sigevent){
        .sigev_notify = SIGEV_SIGNAL, .sigev_signo = 777}, &timer));

    char name[64];
    snprintf(name, sizeof name, "/calls-%d", getpid());
    mqd_t queue = mq_open(name, O_CREAT | O_RDWR | O_NONBLOCK, 0600, &attributes);
    MUST(queue >= 0 && mq_unlink(name) == 0);
    SHOW(syscall(SYS_mq_getsetattr, queue, NULL, &found));
    say("%ld %ld %ld\n", found.mq_flags, found.mq_maxmsg, found.mq_curmsgs);
}
