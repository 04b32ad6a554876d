/*
 * A server that behaves differently from its replicas on request. It answers lines:
 *
 *     flip    answers with a wrong byte if the file /run/crane/wrong exists (only this replica's
 *             daemon can make it; the server looks for it by a system call that no library sees)
 *     skip    skips a lock if that file exists
 *     late    locks once more or not, by the last bits of the real time, if that file exists
 *     uuid    locks as often as the host's number says: the first digit in /run/crane/uuid, or
 *             once if that file does not exist
 *     time    locks once more or not, by the last bits of the real time
 *     show    answers with the last digits of the real time, by the same calls
 *     other   answers with the same line
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include "serve.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static long raw3(long number, long one, long two, long three) {
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(one), "S"(two), "d"(three)
                     : "rcx", "r11", "memory");
    return result;
}

static long raw(long number, long one, long two) { return raw3(number, one, two, 0); }

static int wrong(void) { return raw(SYS_access, (long)"/run/crane/wrong", F_OK) == 0; }

static long number_of_host(void) {
    char digit = '1';
    long fd = raw(SYS_open, (long)"/run/crane/uuid", O_RDONLY);
    if (fd < 0)
        return 1;
    raw3(SYS_read, fd, (long)&digit, 1);
    raw(SYS_close, fd, 0);
    return digit - '0';
}

static void touch(void) {
    pthread_mutex_lock(&lock);
    pthread_mutex_unlock(&lock);
}

static void *serve(void *argument) {
    int fd = (int)(long)argument;
    FILE *in = fdopen(fd, "r");
    char line[256];
    while (in && fgets(line, sizeof line, in)) {
        touch();
        if (!strncmp(line, "flip", 4) && wrong())
            line[0] ^= 1;
        if (strncmp(line, "skip", 4) || !wrong())
            touch();
        if (!strncmp(line, "time", 4) || (!strncmp(line, "late", 4) && wrong())) {
            struct timespec now;
            raw(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now);
            for (long times = now.tv_nsec / 1000 % 64 + 1; times > 0; times--)
                touch();
        }
        if (!strncmp(line, "uuid", 4))
            for (long times = number_of_host(); times > 0; times--)
                touch();
        if (!strncmp(line, "show", 4)) {
            struct timespec now;
            raw(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now);
            snprintf(line, sizeof line, "%09ld\n", now.tv_nsec);
        }
        if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0)
            break;
    }
    if (in)
        fclose(in);
    return NULL;
}

int main(int count, char **words) {
    return serve_each(listen_at(words[count - 1]), serve);
}
