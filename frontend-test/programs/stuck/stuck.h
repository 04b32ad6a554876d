/*
 * A server that echoes lines, with a thread for each connection, until a line says "stick". Then
 * the program's own stick() runs in that connection's thread, which is named "sticky". If stick()
 * returns, the line is answered like any other. The tests parse the first lines of each program:
 *
 *     // call: the system call in which the thread stays, by the kernel's name; - for none
 *     // expect: in-kernel | computes | bypass (the call is unseen, and returns) | none (a control)
 *     // via: libc | syscall (libc's function of that name) | inline (the program's instruction)
 */
#ifndef STUCK_H
#define STUCK_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void stick(void);

/* Makes a system call by an instruction of the program, which no library sees. */
__attribute__((unused)) static long
raw6(long number, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#define RAW(number, a, b, c, d, e, f) \
    raw6(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* Ends the program with the reason if a condition before the stick fails. */
#define MUST(condition) do { if (!(condition)) { \
    fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, strerror(errno)); \
    _exit(3); } } while (0)

/* Fills a descriptor until a write to it would block, and makes it blocking again. */
__attribute__((unused)) static void fill(int fd) {
    static char zeros[4096];
    MUST(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    while (RAW(SYS_write, fd, zeros, sizeof zeros, 0, 0, 0) > 0) {}
    while (RAW(SYS_write, fd, zeros, 1, 0, 0, 0) > 0) {}
    MUST(fcntl(fd, F_SETFL, 0) == 0);
}

/* Names a thread that a stick() starts, which would inherit the name of the stuck thread. */
__attribute__((unused)) static void be_another(void) {
    pthread_setname_np(pthread_self(), "another");
}

/* Starts a child that does nothing and ends with its parent. */
__attribute__((unused)) static pid_t idle_child(void) {
    pid_t child = fork();
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
}

static void *serve(void *argument) {
    int fd = (int)(intptr_t)argument;
    char line[256];
    size_t length = 0;
    pthread_setname_np(pthread_self(), "sticky");
    for (;;) {
        ssize_t got = read(fd, line + length, 1);
        if (got <= 0) break;
        if (line[length++] != '\n' && length < sizeof line) continue;
        if (length == 6 && !memcmp(line, "stick\n", 6)) stick();
        if (send(fd, line, length, MSG_NOSIGNAL) < 0) break;
        length = 0;
    }
    close(fd);
    return NULL;
}

int main(int count, char **arguments) {
    int port = count > 1 ? atoi(arguments[1]) : 7000;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    MUST(listener >= 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    MUST(bind(listener, (struct sockaddr *)&at, sizeof at) == 0);
    MUST(listen(listener, 64) == 0);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        pthread_t thread;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        MUST(pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0);
        pthread_detach(thread);
    }
}

#endif
