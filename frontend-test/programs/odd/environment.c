// kind: setenv, putenv, unsetenv and clearenv, and what a child gets of them
#include "odd.h"

static void child(const char *command) {
    fflush(stdout);
    say("%s: %d\n", command, WEXITSTATUS(system(command)));
}

static void odd(void) {
    static char own[] = "ODD=put";
    SHOW(setenv("ODD", "one", 0));
    SHOW(setenv("ODD", "two", 0));
    say("%s\n", getenv("ODD"));
    SHOW(setenv("ODD", "three", 1));
    child("test \"$ODD\" = three");
    SHOW(putenv(own));
    own[4] = 'c';
    say("%s\n", getenv("ODD"));
    child("test \"$ODD\" = cut");
    SHOW(setenv("", "x", 1));
    SHOW(setenv("A=B", "x", 1));
    SHOW(unsetenv("ODD"));
    SHOW(getenv("ODD") == NULL);
    SHOW(unsetenv("ODD"));
    SHOW(secure_getenv("ODD") == NULL);
    SHOW(clearenv());
    SHOW(environ == NULL);
    SHOW(getenv("PATH") == NULL);
    child("test -z \"$ODD\"");
    environ = (char *[]){"ODD=array", NULL};
    say("%s\n", getenv("ODD"));
    child("test \"$ODD\" = array");
    // The memory of the array ends with this function.
    environ = NULL;
}
