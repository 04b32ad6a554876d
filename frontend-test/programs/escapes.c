/*
 * A server that tries to leave its cell, by system calls that no library sees. A line has calls
 * that are made one after the other, up to the first that fails, separated by ";". Each is a number
 * and its arguments: numbers, "s:TEXT" a string, "x:HEX" bytes, "r" the result of the call before,
 * "@" a buffer of zeros, "v" an iovec of it, and "h" a file handle of zeros. The answer is the
 * error number, and the last result. "!PROGRAM LINE" has another program of this kind make calls.
 *
 * "escapes try LINE" makes the calls of a line natively, and prints the answer.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include "serve.h"

#define ARGUMENTS 6

static char buffer[4096];
static struct iovec vector = {buffer, 8};
static struct {
    unsigned bytes;
    int type;
    char handle[128];
} handle;

static long raw(const long number, const long *with) {
    register long d __asm__("r10") = with[3];
    register long e __asm__("r8") = with[4];
    register long f __asm__("r9") = with[5];
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(with[0]), "S"(with[1]), "d"(with[2]), "r"(d), "r"(e), "r"(f)
                     : "rcx", "r11", "memory");
    return result;
}

/* Turns the digits of a word into bytes, in its place. */
static long bytes_of(char *word) {
    char *to = word;
    unsigned byte;
    for (char *from = word; sscanf(from, "%2x", &byte) == 1; from += 2) *to++ = byte;
    return (long)word;
}

static long value_of(char *word, long before) {
    if (!strncmp(word, "s:", 2)) return (long)(word + 2);
    if (!strncmp(word, "x:", 2)) return bytes_of(word + 2);
    switch (word[0]) {
        case 'r': return before;
        case '@': return (long)memset(buffer, 0, sizeof buffer);
        case 'v': return (long)&vector;
        case 'h': handle.bytes = sizeof handle.handle; return (long)&handle;
        default: return strtol(word, NULL, 0);
    }
}

/* Has the program whose path begins the line answer the rest of it. */
static int delegated(const char *line, char *space, size_t size) {
    char *calls = strdup(line), *rest = calls;
    const char *program = strsep(&rest, " \n");
    int pipes[2], length = 0;
    if (!rest || pipe(pipes)) return snprintf(space, size, "-1 0\n");
    pid_t child = fork();
    if (!child) {
        dup2(pipes[1], 1);
        close(pipes[0]);
        close(pipes[1]);
        execl(program, program, "try", rest, NULL);
        _exit(127);
    }
    close(pipes[1]);
    for (ssize_t got; (got = read(pipes[0], space + length, size - length)) > 0;) length += got;
    close(pipes[0]);
    waitpid(child, NULL, 0);
    free(calls);
    return length ? length : snprintf(space, size, "-1 0\n");
}

static int answer(int fd, const char *line, char *space, size_t size) {
    (void)fd;
    if (line[0] == '!') return delegated(line + 1, space, size);
    char *calls = strdup(line), *rest = calls;
    long result = 0;
    for (char *call; result >= 0 && (call = strsep(&rest, ";\n"));) {
        long with[ARGUMENTS] = {0}, number = -1;
        int count = -1;
        for (char *word; count < ARGUMENTS && (word = strsep(&call, " "));) {
            if (!*word) continue;
            long value = value_of(word, result);
            if (count++ < 0) number = value;
            else with[count - 1] = value;
        }
        if (number >= 0) result = raw(number, with);
    }
    free(calls);
    int failed = result < 0 && result >= -4095;
    return snprintf(space, size, "%ld %ld\n", failed ? -result : 0, failed ? 0 : result);
}

int main(int count, char **arguments) {
    char space[64];
    if (count == 3 && !strcmp(arguments[1], "try")) {
        space[answer(0, arguments[2], space, sizeof space - 1)] = 0;
        return fputs(space, stdout) < 0;
    }
    if (count != 2) return 2;
    serve_lines(listen_at(arguments[1]), answer);
}
