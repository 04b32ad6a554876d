// kind: a filter of the program's own (seccomp), which ends it at calls that it never makes
#include "odd.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

static int call_pair(void) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    long pid;
    __asm__ volatile("syscall" : "=a"(pid) : "a"(SYS_getpid) : "rcx", "r11", "memory");
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pid == getpid();
}

static void *in_thread(void *unused) {
    (void)unused;
    return call_pair() ? "same" : "other";
}

static void odd(void) {
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {sizeof steps / sizeof *steps, steps};
    SHOW(call_pair());
    SHOW(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    SHOW(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0));
    SHOW(call_pair());
    pthread_t thread;
    void *result;
    SHOW(pthread_create(&thread, NULL, in_thread, NULL));
    SHOW(pthread_join(thread, &result));
    say("%s\n", (char *)result);
    SHOW(call_pair());
}
