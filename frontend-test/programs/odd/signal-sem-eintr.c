// kind: sem_wait ends with EINTR if the handler has no SA_RESTART
#include "odd.h"

static void nothing(int number) {}

static void odd(void) {
    sem_t never;
    MUST(sem_init(&never, 0, 0) == 0);
    handle(SIGALRM, nothing, 0);
    alarm_in(50);
    SHOW(sem_wait(&never));
}
