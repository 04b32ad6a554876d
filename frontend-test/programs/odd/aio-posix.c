// kind: POSIX aio on a file: write, suspend, read, list
#include "odd.h"
#include <aio.h>

static void odd(void) {
    char bytes[8] = "";
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    struct aiocb write_it = {.aio_fildes = fd, .aio_buf = "async", .aio_nbytes = 5};
    struct aiocb read_it = {.aio_fildes = fd, .aio_buf = bytes, .aio_nbytes = 5};
    const struct aiocb *wait_for[] = {&write_it};
    SHOW(aio_write(&write_it));
    SHOW(aio_suspend(wait_for, 1, NULL));
    SHOW(aio_error(&write_it));
    SHOW(aio_return(&write_it));
    struct aiocb *list[] = {&read_it};
    read_it.aio_lio_opcode = LIO_READ;
    SHOW(lio_listio(LIO_WAIT, list, 1, NULL));
    SHOW(aio_return(&read_it));
    say("%s\n", bytes);
    SHOW(unlink("file"));
}
