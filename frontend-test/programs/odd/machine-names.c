// kind: uname, gethostname, getdomainname, gethostid and sysconf agree with each other
#include "odd.h"
#include <sys/utsname.h>

static void odd(void) {
    struct utsname names;
    char name[256] = "";
    SHOW(uname(&names));
    say("%s %s\n", names.sysname, names.machine);
    SHOW(gethostname(name, sizeof name));
    SHOW(strcmp(name, names.nodename));
    SHOW(gethostname(name, 0));
    SHOW(getdomainname(name, sizeof name));
    SHOW(strcmp(name, names.domainname));
    SHOW(gethostid() == gethostid());
    SHOW(sysconf(_SC_HOST_NAME_MAX));
    SHOW(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
    SHOW(sysconf(_SC_NPROCESSORS_CONF) >= sysconf(_SC_NPROCESSORS_ONLN));
    errno = 0;
    SHOW(sysconf(9999));
    SHOW(confstr(_CS_PATH, NULL, 0) > 0);
    SHOW(pathconf("/", _PC_NAME_MAX));
}
