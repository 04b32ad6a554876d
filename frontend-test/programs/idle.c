/*
 * A server with a leak that only idleness shows: it counts the times at which a line came more than
 * half a second after the one before, by a clock that it reads behind the library's back. Replicas
 * see the same pauses, and differ in nothing. A server that replays the log sees none.
 *
 * With a second argument it counts lines alone: the control.
 */
#include <sys/syscall.h>
#include <time.h>
#include "serve.h"

static int leaks;
static unsigned long lines, pauses;
static double last;

static double now(void) {
    struct timespec at;
    long number = SYS_clock_gettime;
    __asm__ volatile("syscall"
                     : "+a"(number)
                     : "D"(CLOCK_MONOTONIC), "S"(&at)
                     : "rcx", "r11", "memory");
    return at.tv_sec + at.tv_nsec / 1e9;
}

static int take(int fd, const char *line, char *answer, size_t size) {
    (void)fd;
    (void)line;
    double at = leaks ? now() : 0;
    pauses += at - last > 0.5;
    last = at;
    return snprintf(answer, size, "%lu %lu\n", ++lines, pauses);
}

int main(int count, char **arguments) {
    if (count < 2) return 2;
    leaks = count == 2;
    last = leaks ? now() : 0;
    serve_lines(listen_at(arguments[1]), take);
}
