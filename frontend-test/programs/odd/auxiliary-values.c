// kind: the auxiliary vector: page size, ids, the name of the program, random bytes that are set
#include "odd.h"
#include <sys/auxv.h>

static void odd(void) {
    const unsigned char *random = (void *)getauxval(AT_RANDOM);
    unsigned sum = 0;
    MUST(random != NULL);
    for (int i = 0; i < 16; i++) sum |= random[i];
    SHOW(sum != 0);
    SHOW(getauxval(AT_PAGESZ) == (unsigned long)sysconf(_SC_PAGESIZE));
    SHOW(getauxval(AT_UID) == getuid());
    SHOW(getauxval(AT_EUID) == geteuid());
    SHOW(getauxval(AT_GID) == getgid());
    SHOW(getauxval(AT_SECURE));
    SHOW(getauxval(AT_CLKTCK));
    SHOW(getauxval(AT_PHDR) != 0);
    SHOW(getauxval(AT_ENTRY) != 0);
    const char *name = strrchr((char *)getauxval(AT_EXECFN), '/');
    SHOW(name != NULL && strcmp(name + 1, program_invocation_short_name) == 0);
    errno = 0;
    SHOW(getauxval(9999));
    SHOW(errno == ENOENT);
}
