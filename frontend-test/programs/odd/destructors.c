// kind: destructors of thread-specific values that use connections and locks as a thread ends
#define PEER
#include "odd.h"

static pthread_key_t of_connection, of_lock;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int rounds;

static void end_connection(void *argument) {
    int fd = (int)(intptr_t)argument;
    char byte = 0;
    say("destructor, round %d\n", ++rounds);
    if (rounds < 3) {
        pthread_setspecific(of_connection, argument);
        SHOW(send(fd, "+", 1, MSG_NOSIGNAL));
        SHOW(recv(fd, &byte, 1, 0));
        return;
    }
    SHOW(shutdown(fd, SHUT_WR));
    SHOW(recv(fd, &byte, 1, 0));
    SHOW(close(fd));
}

static void free_lock(void *argument) { CODE(pthread_mutex_unlock(argument)); }

static void *routine(void *argument) {
    pthread_mutex_lock(&lock);
    pthread_setspecific(of_connection, argument);
    pthread_setspecific(of_lock, &lock);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    MUST(pthread_key_create(&of_connection, end_connection) == 0);
    MUST(pthread_key_create(&of_lock, free_lock) == 0);
    int fd = taken();
    start(&thread, routine, (void *)(intptr_t)fd);
    pthread_join(thread, NULL);
    CODE(pthread_mutex_trylock(&lock));
    SHOW(fcntl(fd, F_GETFD));
    CODE(pthread_key_delete(of_connection));
    CODE(pthread_key_delete(of_connection));
}

static void peer(void) {
    int fd = dial();
    for (int i = 0; i < 2; i++) {
        await_sign(fd);
        put(fd, "!");
    }
    drain(fd);
    close(fd);
}
