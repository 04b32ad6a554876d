// kind: splice, tee and vmsplice between pipes with bytes
#include "odd.h"

static void odd(void) {
    char bytes[16] = "";
    int one[2], two[2];
    struct iovec part = {"mapped", 6};
    MUST(pipe(one) == 0 && pipe(two) == 0);
    SHOW(vmsplice(one[1], &part, 1, 0));
    SHOW(tee(one[0], two[1], 6, 0));
    SHOW(read(two[0], bytes, 16));
    SHOW(splice(one[0], NULL, two[1], NULL, 6, 0));
    SHOW(read(two[0], bytes, 16));
    say("%s\n", bytes);
    SHOW(splice(one[0], NULL, two[1], NULL, 6, SPLICE_F_NONBLOCK));
}
