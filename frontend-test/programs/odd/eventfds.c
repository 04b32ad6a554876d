// kind: eventfd: semaphore mode, overflow, wrong sizes, two threads
#include "odd.h"

static int fd;

static void *add(void *argument) {
    for (int i = 0; i < 10; i++) MUST(eventfd_write(fd, 1) == 0);
    return argument;
}

static void odd(void) {
    uint64_t value;
    char small[4];
    fd = eventfd(3, EFD_NONBLOCK);
    SHOW(read(fd, small, sizeof small));
    SHOW(read(fd, &value, sizeof value));
    say("%d\n", (int)value);
    SHOW(read(fd, &value, sizeof value));
    value = UINT64_MAX - 1;
    SHOW(write(fd, &value, sizeof value));
    value = 1;
    SHOW(write(fd, &value, sizeof value));
    value = UINT64_MAX;
    SHOW(write(fd, &value, sizeof value));
    struct pollfd wanted = {fd, POLLIN | POLLOUT, 0};
    SHOW(poll(&wanted, 1, 0));
    say("%x\n", wanted.revents);
    close(fd);
    fd = eventfd(0, EFD_SEMAPHORE);
    pthread_t thread;
    start(&thread, add, NULL);
    int sum = 0;
    for (int i = 0; i < 10; i++) {
        MUST(read(fd, &value, sizeof value) == sizeof value);
        sum += value;
    }
    pthread_join(thread, NULL);
    say("%d\n", sum);
}
