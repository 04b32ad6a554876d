// kind: MADV_WIPEONFORK empties a page in a child
#include "odd.h"

static void odd(void) {
    int status;
    int *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SHOW(madvise(page, 4096, MADV_WIPEONFORK));
    page[0] = 7;
    pid_t child = fork();
    if (child == 0) _exit(page[0] + 1);
    SHOW(waitpid(child, &status, 0) == child);
    say("child saw %d, parent %d\n", WEXITSTATUS(status) - 1, page[0]);
}
