/* A disk that hangs or is slow, for one daemon alone: its fdatasync waits.

   The log of a replica is DATA/log/NUMBER.log. If the file DATA.sync holds a number, each sync
   takes that many milliseconds longer; if it holds "hang", a sync waits until it holds something
   else. With "shared" before the number, the syncs of all replicas wait for each other. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The daemon's own processes, such as its server, do not inherit this library. */
__attribute__((constructor)) static void begin(void) { unsetenv("LD_PRELOAD"); }

/* Reads what the syncs of this file are to do. Returns whether it says something. */
static int read_order(int fd, char *order, size_t size, char *place) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, place, PATH_MAX - 16);
    if (length <= 0)
        return 0;
    place[length] = 0;
    char *end = strstr(place, "/log/");
    if (!end)
        return 0;
    strcpy(end, ".sync");
    int file = open(place, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    length = read(file, order, size - 1);
    close(file);
    order[length > 0 ? length : 0] = 0;
    return length > 0;
}

int fdatasync(int fd) {
    char order[64], place[PATH_MAX];
    while (read_order(fd, order, sizeof order, place) && strncmp(order, "hang", 4) == 0)
        usleep(5000);
    if (read_order(fd, order, sizeof order, place)) {
        int lock = -1;
        char *number = order;
        if (strncmp(order, "shared ", 7) == 0) {
            number += 7;
            strcpy(strrchr(place, '/'), "/shared.lock");
            lock = open(place, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
            flock(lock, LOCK_EX);
        }
        usleep(1000 * (useconds_t)atol(number));
        if (lock >= 0)
            close(lock);
    }
    return (int)syscall(SYS_fdatasync, fd);
}
