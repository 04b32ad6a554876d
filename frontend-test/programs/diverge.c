/*
 * A server that behaves differently from its replicas on request. It answers lines:
 *
 *     flip    answers with a wrong byte if the file /run/crane/wrong exists (no server makes it;
 *             this one looks for it by a system call that no library sees)
 *     skip    skips a lock if that file exists
 *     late    locks some times more, by the number of an inode, if that file exists
 *     nice    locks once for each step of its priority, which it has from its host's daemon
 *     inode   locks or signals, by each bit of the number of an inode, which replicas do not share
 *     show    answers with digits of that number, by the same calls
 *     other   answers with the same line
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

/* Returns a number below 2^40 that each replica has of its own: by the inode of a file in the
 * working directory. The file stays there, or another replica would get its inode. */
static uint64_t own(void) {
    struct stat facts = {0};
    long fd = raw(SYS_creat, (long)"own", 0600);
    raw(SYS_fstat, fd, (long)&facts);
    raw(SYS_close, fd, 0);
    return (uint64_t)facts.st_ino * 0x9e3779b97f4a7c15 >> 24;
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
        if (!strncmp(line, "late", 4) && wrong()) {
            for (long times = (long)(own() % 64) + 1; times > 0; times--)
                touch();
        }
        if (!strncmp(line, "inode", 5)) {
            uint64_t number = own();
            /* A million ways, so that no two of a few runs go the same one by chance. */
            for (int bit = 4; bit < 24; bit++) {
                if (number >> bit & 1)
                    touch();
                else
                    pthread_cond_signal(&changed);
            }
        }
        if (!strncmp(line, "nice", 4))
            for (long times = priority(); times > 0; times--)
                touch();
        if (!strncmp(line, "show", 4)) {
            snprintf(line, sizeof line, "%09ld\n", (long)(own() % 1000000000));
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
