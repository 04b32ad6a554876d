// kind: dlopen, dlsym, dlclose, a symbol that does not exist
#include "odd.h"
#include <dlfcn.h>

static void odd(void) {
    void *library = dlopen("libm.so.6", RTLD_NOW);
    MUST(library);
    double (*root)(double) = (double (*)(double))dlsym(library, "sqrt");
    MUST(root);
    say("%.3f\n", root(2));
    SHOW(dlsym(library, "no_such_symbol") == NULL);
    SHOW(dlclose(library));
    SHOW(dlopen("no-such-library.so", RTLD_NOW) == NULL);
    SHOW(dlsym(RTLD_DEFAULT, "read") != NULL);
}
