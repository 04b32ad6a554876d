// kind: popen and system
#include "odd.h"

static void odd(void) {
    char line[64] = "";
    FILE *from = popen("echo from a child; exit 2", "r");
    MUST(from && fgets(line, sizeof line, from));
    say("%s", line);
    SHOW(WEXITSTATUS(pclose(from)));
    SHOW(WEXITSTATUS(system("exit 4")));
    FILE *to = popen("cat >/dev/null", "w");
    MUST(to && fputs("to a child\n", to) >= 0);
    SHOW(pclose(to));
    SHOW(system(NULL) != 0);
}
