// kind: makecontext and swapcontext: coroutines that read and write a connection in turn
#define PEER
#include "odd.h"
#include <ucontext.h>

static ucontext_t of_main, of_reader, of_writer;
static char byte;
static int fd, rounds;

static void read_one(void) {
    for (;;) {
        SHOW(recv(fd, &byte, 1, 0));
        swapcontext(&of_reader, &of_writer);
    }
}

static void write_one(void) {
    for (;;) {
        byte++;
        SHOW(send(fd, &byte, 1, MSG_NOSIGNAL));
        if (++rounds == 3) return;
        swapcontext(&of_writer, &of_reader);
    }
}

static void prepare(ucontext_t *context, void (*routine)(void)) {
    MUST(getcontext(context) == 0);
    context->uc_stack.ss_size = 256 << 10;
    context->uc_stack.ss_sp = malloc(context->uc_stack.ss_size);
    context->uc_link = &of_main;
    makecontext(context, routine, 0);
}

static void odd(void) {
    fd = taken();
    prepare(&of_reader, read_one);
    prepare(&of_writer, write_one);
    SHOW(swapcontext(&of_main, &of_reader));
    say("%d rounds, %c\n", rounds, byte);
    close(fd);
}

static void peer(void) {
    int fd = dial();
    char byte = 'a';
    for (int i = 0; i < 3; i++) {
        put(fd, (char[]){byte, 0});
        get(fd, &byte, 1);
    }
    drain(fd);
    close(fd);
}
