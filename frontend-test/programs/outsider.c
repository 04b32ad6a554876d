/*
 * A server that echoes lines through libc, and answers "raw" lines by system calls that no library
 * sees. "raw listen PORT" binds and listens at a port, "raw connect ADDRESS PORT" connects, and
 * "raw send ADDRESS PORT" sends a datagram. "raw session" answers with pid, process group and
 * session, and "file PATH" with the first line of a file. "raw call NUMBER A B" makes a call by its
 * number, and "raw i386 NUMBER" makes a call of 32-bit programs. The other answers are 0 or the
 * error number.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "serve.h"

static long raw(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}

static long i386(long number) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number) : "memory", "r8", "r9", "r10", "r11");
    return (int)result;
}

static struct sockaddr_in at(const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    return address;
}

static long raw_listen(int port) {
    struct sockaddr_in address = at("0.0.0.0", port);
    long fd = raw(SYS_socket, AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return fd;
    long result = raw(SYS_bind, fd, (long)&address, sizeof address);
    return result < 0 ? result : raw(SYS_listen, fd, 8, 0);
}

static long raw_connect(const char *host, int port) {
    struct sockaddr_in address = at(host, port);
    long fd = raw(SYS_socket, AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return fd;
    long result = raw(SYS_connect, fd, (long)&address, sizeof address);
    raw(SYS_close, fd, 0, 0);
    return result;
}

static long raw_send(const char *host, int port) {
    struct sockaddr_in address = at(host, port);
    long fd = raw(SYS_socket, AF_INET, SOCK_DGRAM, 0);
    if (fd < 0) return fd;
    register long flags __asm__("r10") = 0;
    register long to __asm__("r8") = (long)&address;
    register long size __asm__("r9") = sizeof address;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_sendto), "D"(fd), "S"("out"), "d"(3), "r"(flags), "r"(to), "r"(size)
                     : "rcx", "r11", "memory");
    raw(SYS_close, fd, 0, 0);
    return result < 0 ? result : 0;
}

static int first_line(const char *path, char *space, size_t size) {
    FILE *file = fopen(path, "r");
    if (!file) return snprintf(space, size, "%d\n", errno);
    if (!fgets(space, size, file)) space[0] = 0;
    fclose(file);
    return strlen(space);
}

static int answer(int fd, const char *line, char *space, size_t size) {
    (void)fd;
    char host[64];
    int port;
    long number, a, b;
    if (sscanf(line, "raw call %ld %ld %ld", &number, &a, &b) == 3)
        return snprintf(space, size, "%ld\n", -raw(number, a, b, 0));
    if (sscanf(line, "raw i386 %ld", &number) == 1)
        return snprintf(space, size, "%ld\n", -i386(number));
    if (sscanf(line, "raw listen %d", &port) == 1)
        return snprintf(space, size, "%ld\n", -raw_listen(port));
    if (sscanf(line, "raw connect %63s %d", host, &port) == 2)
        return snprintf(space, size, "%ld\n", -raw_connect(host, port));
    if (sscanf(line, "raw send %63s %d", host, &port) == 2)
        return snprintf(space, size, "%ld\n", -raw_send(host, port));
    if (!strncmp(line, "raw session", 11))
        return snprintf(space, size, "%d %d %d\n", getpid(), getpgrp(), getsid(0));
    if (sscanf(line, "file %63s", host) == 1) return first_line(host, space, size);
    return snprintf(space, size, "%s", line);
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    serve_lines(listen_at(arguments[1]), answer);
}
