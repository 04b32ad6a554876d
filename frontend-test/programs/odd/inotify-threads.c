// kind: inotify: one thread makes a file, another reads the event
#include "odd.h"
#include <sys/inotify.h>

static void *make(void *argument) {
    usleep(50000);
    close(open("made", O_CREAT | O_WRONLY, 0600));
    return argument;
}

static void odd(void) {
    char bytes[512] __attribute__((aligned(8)));
    pthread_t thread;
    int fd = inotify_init1(0);
    MUST(inotify_add_watch(fd, ".", IN_CREATE) >= 0);
    start(&thread, make, NULL);
    SHOW(read(fd, bytes, sizeof bytes) > 0);
    say("%s\n", ((struct inotify_event *)bytes)->name);
    pthread_join(thread, NULL);
    unlink("made");
}
