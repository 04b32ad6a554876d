// kind: handlers that make calls on an alternate stack of 8 KiB
#include "odd.h"
#include <sys/random.h>

#define SIZE 8192

static char *stack;
static int ends[2], pair[2], watched, counted;
static sem_t semaphore;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static volatile int inside, runs, sums;

static void make_calls(int number) {
    char bytes[64] = "";
    struct timespec now;
    struct timeval none = {0, 0};
    struct timespec short_time = {0, 1};
    struct epoll_event event;
    uint64_t one = 1;
    inside += bytes >= stack && bytes < stack + SIZE;
    pthread_mutex_lock(&lock);
    clock_gettime(CLOCK_REALTIME, &now);
    sums += write(ends[1], bytes, sizeof bytes) + read(ends[0], bytes, sizeof bytes);
    select(0, NULL, NULL, NULL, &none);
    poll(NULL, 0, 0);
    epoll_wait(watched, &event, 1, 0);
    nanosleep(&short_time, NULL);
    pthread_mutex_unlock(&lock);
    sums += write(counted, &one, 8) + read(counted, &one, 8) + getrandom(bytes, 8, 0);
    sem_post(&semaphore);
    sem_wait(&semaphore);
    pthread_cond_broadcast(&changed);
    sums += send(pair[0], bytes, 4, 0) + recv(pair[1], bytes, 64, 0);
    close(dup(0));
    kill(getpid(), 0);
    sched_yield();
    runs++;
}

static void odd(void) {
    // The page below belongs to nobody.
    char *pages = mmap(NULL, 2 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(pages != MAP_FAILED && mprotect(pages + SIZE, SIZE, PROT_READ | PROT_WRITE) == 0);
    stack = pages + SIZE;
    stack_t own = {.ss_sp = stack, .ss_size = SIZE};
    MUST(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    MUST(sem_init(&semaphore, 0, 0) == 0);
    MUST((watched = epoll_create1(0)) >= 0 && (counted = eventfd(0, 0)) >= 0);
    SHOW(sigaltstack(&own, NULL));
    handle(SIGUSR1, make_calls, SA_ONSTACK);
    handle(SIGALRM, make_calls, SA_ONSTACK);
    for (int i = 0; i < 50; i++) MUST(raise(SIGUSR1) == 0);
    say("%d runs, %d inside, %d bytes\n", runs, inside, sums);
    alarm_in(200);
    SHOW(pause());
    alarm_in(200);
    SHOW(usleep(5000000));
    say("%d runs, %d inside, %d bytes\n", runs, inside, sums);
}
