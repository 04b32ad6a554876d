/*
 * A server that behaves differently from its replicas on request. It answers lines:
 *
 *     flip    answers with a wrong byte if the file /run/crane/wrong exists (no server makes it;
 *             this one looks for it by a system call that no library sees)
 *     skip    skips a lock if that file exists
 *     late    locks some times more, by the last bits of the real time, if that file exists
 *     nice    locks once for each step of its priority, which it has from its host's daemon
 *     time    locks or signals, by each of the last bits of the real time
 *     show    answers with the last digits of the real time, by the same calls
 *     other   answers with the same line
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include "serve.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static long raw(long number, long one, long two) {
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(one), "S"(two)
                     : "rcx", "r11", "memory");
    return result;
}

static int wrong(void) { return raw(SYS_access, (long)"/run/crane/wrong", F_OK) == 0; }

/* The system call's answer is 20 for a nice value of 0, and 25 for one of -5 (getpriority(2)). */
static long priority(void) { return raw(SYS_getpriority, PRIO_PROCESS, 0); }

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
        if (!strncmp(line, "late", 4) && wrong()) {
            struct timespec now;
            raw(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now);
            for (long times = now.tv_nsec / 1000 % 64 + 1; times > 0; times--)
                touch();
        }
        if (!strncmp(line, "time", 4)) {
            struct timespec now;
            raw(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now);
            /* A million ways, so that no two of a few runs go the same one by chance. */
            for (int bit = 4; bit < 24; bit++) {
                if (now.tv_nsec >> bit & 1)
                    touch();
                else
                    pthread_cond_signal(&changed);
            }
        }
        if (!strncmp(line, "nice", 4))
            for (long times = priority(); times > 0; times--)
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
