// kind: C11 threads: results of exit, negative results, detach, call_once by several
#include "odd.h"
#include <threads.h>

static once_flag once = ONCE_FLAG_INIT;
static mtx_t lock;
static int made, left = 3;

static void make(void) {
    usleep(20000);
    made++;
}

static int leave(void *argument) {
    call_once(&once, make);
    MUST(made == 1);
    thrd_exit(*(int *)argument);
}

static int give(void *argument) { return *(int *)argument; }

static int count_down(void *argument) {
    mtx_lock(&lock);
    left--;
    mtx_unlock(&lock);
    return argument != NULL;
}

static void odd(void) {
    thrd_t threads[3];
    int numbers[] = {-1, INT_MIN, 7}, result;
    mtx_init(&lock, mtx_plain | mtx_recursive);
    for (int i = 0; i < 3; i++) MUST(thrd_create(&threads[i], i ? leave : give, &numbers[i]) == 0);
    for (int i = 0; i < 3; i++) {
        SHOW(thrd_join(threads[i], &result));
        say("%d\n", result);
    }
    for (int i = 0; i < 3; i++) {
        MUST(thrd_create(&threads[i], count_down, NULL) == 0);
        SHOW(thrd_detach(threads[i]));
    }
    for (int now = left; now > 0;) {
        thrd_sleep(&(struct timespec){0, 5000000}, NULL);
        mtx_lock(&lock);
        mtx_lock(&lock);
        now = left;
        mtx_unlock(&lock);
        mtx_unlock(&lock);
    }
    say("left %d\n", left);
    SHOW(thrd_equal(thrd_current(), thrd_current()) != 0);
    SHOW(thrd_sleep(&(struct timespec){0, -1}, NULL));
}
