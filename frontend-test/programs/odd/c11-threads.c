// kind: C11 threads: mtx, cnd, tss, once, join results, timed locks
#include "odd.h"
#include <threads.h>

static mtx_t lock;
static cnd_t changed;
static tss_t key;
static once_flag once = ONCE_FLAG_INIT;
static int stage, made, gone;

static void make(void) { made++; }
static void forget(void *value) { gone += *(int *)value; }

static int work(void *argument) {
    static thread_local int own;
    call_once(&once, make);
    own = *(int *)argument;
    tss_set(key, &own);
    mtx_lock(&lock);
    while (stage != own) cnd_wait(&changed, &lock);
    say("thread %d\n", own);
    stage++;
    cnd_broadcast(&changed);
    mtx_unlock(&lock);
    return own * 10;
}

static void odd(void) {
    thrd_t threads[4];
    int numbers[] = {0, 1, 2, 3}, result, sum = 0;
    struct timespec limit;
    MUST(mtx_init(&lock, mtx_timed) == thrd_success && cnd_init(&changed) == thrd_success);
    MUST(tss_create(&key, forget) == thrd_success);
    for (int i = 3; i >= 0; i--) MUST(thrd_create(&threads[i], work, &numbers[i]) == 0);
    for (int i = 0; i < 4; i++) {
        MUST(thrd_join(threads[i], &result) == thrd_success);
        sum += result;
    }
    say("sum %d made %d gone %d\n", sum, made, gone);
    timespec_get(&limit, TIME_UTC);
    limit.tv_nsec += 20000000;
    if (limit.tv_nsec >= 1000000000) limit.tv_sec++, limit.tv_nsec -= 1000000000;
    SHOW(mtx_lock(&lock));
    SHOW(cnd_timedwait(&changed, &lock, &limit) == thrd_timedout);
    SHOW(mtx_trylock(&lock) == thrd_busy);
    SHOW(mtx_timedlock(&lock, &limit) == thrd_timedout);
    SHOW(mtx_unlock(&lock));
    SHOW(thrd_sleep(&(struct timespec){0, 20000000}, NULL));
    thrd_yield();
}
