// kind: futex(2) with priority inheritance: order of holders, errors, limits
#include "odd.h"
#include <linux/futex.h>

#define PRIVATE FUTEX_PRIVATE_FLAG
#define OWNER(word) ((word) & FUTEX_TID_MASK)

static unsigned lock, entered;
static int order[3], taken_by;

static long futex(unsigned *word, int operation, const struct timespec *limit) {
    return syscall(SYS_futex, word, operation | PRIVATE, 0, limit, NULL, 0);
}

static void *take(void *argument) {
    unsigned place = (unsigned)(uintptr_t)argument;
    while (__atomic_load_n(&entered, __ATOMIC_SEQ_CST) != place) usleep(500);
    __atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
    MUST(futex(&lock, FUTEX_LOCK_PI, NULL) == 0);
    MUST(OWNER(__atomic_load_n(&lock, __ATOMIC_SEQ_CST)) == (unsigned)gettid());
    order[taken_by++] = (int)place;
    MUST(futex(&lock, FUTEX_UNLOCK_PI, NULL) == 0);
    return NULL;
}

static void *fail(void *argument) {
    struct timespec limit = in(CLOCK_REALTIME, 40);
    SHOW(futex(&lock, FUTEX_TRYLOCK_PI, NULL));
    SHOW(futex(&lock, FUTEX_UNLOCK_PI, NULL));
    SHOW(futex(&lock, FUTEX_LOCK_PI, &limit));
    limit = in(CLOCK_MONOTONIC, 40);
    SHOW(futex(&lock, FUTEX_LOCK_PI2, &limit));
    limit.tv_nsec = -1;
    SHOW(futex(&lock, FUTEX_LOCK_PI, &limit));
    return argument;
}

static void odd(void) {
    pthread_t threads[3];
    unsigned of_nobody = 0x3ffffff0;
    SHOW(futex(&lock, FUTEX_LOCK_PI, NULL));
    say("%d\n", lock == (unsigned)gettid());
    SHOW(futex(&lock, FUTEX_LOCK_PI, NULL));
    SHOW(futex(&lock, FUTEX_TRYLOCK_PI, NULL));
    start(&threads[0], fail, NULL);
    pthread_join(threads[0], NULL);
    for (int i = 0; i < 3; i++) start(&threads[i], take, (void *)(uintptr_t)i);
    while (__atomic_load_n(&entered, __ATOMIC_SEQ_CST) < 3) usleep(500);
    usleep(100000);
    say("%d\n", (lock & FUTEX_WAITERS) != 0);
    SHOW(futex(&lock, FUTEX_UNLOCK_PI, NULL));
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    say("%d %d %d\n", order[0], order[1], order[2]);
    SHOW(futex(&lock, FUTEX_TRYLOCK_PI, NULL));
    SHOW(futex(&lock, FUTEX_UNLOCK_PI, NULL));
    SHOW(futex(&lock, FUTEX_UNLOCK_PI, NULL));
    SHOW(futex(&of_nobody, FUTEX_LOCK_PI, NULL));
    SHOW(futex((unsigned *)((char *)&lock + 1), FUTEX_LOCK_PI, NULL));
}
