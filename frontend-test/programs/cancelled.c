/*
 * A server that cancels a thread of its own for each line, and tells how that thread fared: for
 * `stream`, it waits in a function of libc, which is a cancellation point; for `instruction`, it
 * waits in a call of its own, which is none, so that it is cancelled behind it.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "serve.h"

static int ends[2], cleaned;
static long got;

static void clean(void *count) { ++*(int *)count; }

static void *wait_in_stream(void *argument) {
    char line[64];
    FILE *fifo = fopen("fifo", "r+");
    pthread_cleanup_push(clean, &cleaned);
    got = fgets(line, sizeof line, fifo) != NULL;
    pthread_cleanup_pop(0);
    return argument;
}

static void *wait_in_call(void *argument) {
    char byte;
    pthread_cleanup_push(clean, &cleaned);
    __asm__ volatile("syscall"
                     : "=a"(got)
                     : "a"(SYS_read), "D"((long)ends[0]), "S"(&byte), "d"(1L)
                     : "rcx", "r11", "memory");
    pthread_testcancel();
    pthread_cleanup_pop(0);
    return argument;
}

static int take(int fd, const char *line, char *answer, size_t size) {
    int in_stream = !strncmp(line, "stream", 6);
    pthread_t thread;
    void *end;
    (void)fd;
    cleaned = 0;
    got = -1;
    if (pthread_create(&thread, NULL, in_stream ? wait_in_stream : wait_in_call, NULL)) exit(4);
    usleep(20000);
    pthread_cancel(thread);
    usleep(20000);
    if (!in_stream && write(ends[1], "x", 1) != 1) exit(5);
    pthread_join(thread, &end);
    return snprintf(answer, size, "cancelled %d, cleaned %d, got %ld\n", end == PTHREAD_CANCELED,
                    cleaned, got);
}

int main(int count, char **arguments) {
    if (count != 2 || pipe(ends)) return 2;
    mkfifo("fifo", 0600);
    serve_lines(listen_at(arguments[1]), take);
}
