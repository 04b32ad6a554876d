// kind: a C11 mutex that four threads contend for
#include "odd.h"
#include <threads.h>

static mtx_t lock;
static long count;

static int work(void *argument) {
    for (int i = 0; i < 10000; i++) {
        mtx_lock(&lock);
        count++;
        mtx_unlock(&lock);
    }
    return 0;
}

static void odd(void) {
    thrd_t threads[4];
    mtx_init(&lock, mtx_plain);
    for (int i = 0; i < 4; i++) MUST(thrd_create(&threads[i], work, NULL) == thrd_success);
    for (int i = 0; i < 4; i++) thrd_join(threads[i], NULL);
    say("%ld\n", count);
}
