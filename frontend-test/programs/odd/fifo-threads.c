// kind: a FIFO opened for reading and writing by two threads
#include "odd.h"

static void *pour(void *argument) {
    int fd = open("fifo", O_WRONLY);
    MUST(fd >= 0 && write(fd, "through the fifo", 16) == 16);
    close(fd);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    unlink("fifo");
    SHOW(mkfifo("fifo", 0600));
    SHOW(mkfifo("fifo", 0600));
    SHOW(open("fifo", O_WRONLY | O_NONBLOCK));
    start(&thread, pour, NULL);
    int fd = open("fifo", O_RDONLY);
    OK(fd);
    SHOW(drain(fd));
    pthread_join(thread, NULL);
    SHOW(unlink("fifo"));
}
