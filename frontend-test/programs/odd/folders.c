// kind: folders: made, listed, sought in, entered, removed
#include "odd.h"
#include <dirent.h>

static void odd(void) {
    char place[PATH_MAX];
    int count = 0, sum = 0;
    SHOW(mkdir("folder", 0700));
    SHOW(mkdir("folder", 0700));
    int at = open("folder", O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 20; i++) {
        char name[8];
        snprintf(name, sizeof name, "f%02d", i);
        MUST(close(openat(at, name, O_CREAT | O_WRONLY, 0600)) == 0);
    }
    DIR *folder = opendir("folder");
    for (struct dirent *entry; (entry = readdir(folder)); count++)
        if (entry->d_name[0] == 'f') sum += atoi(entry->d_name + 1);
    say("%d %d\n", count, sum);
    rewinddir(folder);
    SHOW(readdir(folder) != NULL);
    SHOW(closedir(folder));
    SHOW(rmdir("folder"));
    SHOW(fchdir(at));
    SHOW(getcwd(place, sizeof place) && strstr(place, "/folder"));
    for (int i = 0; i < 20; i++) {
        char name[8];
        snprintf(name, sizeof name, "f%02d", i);
        MUST(unlinkat(at, name, 0) == 0);
    }
    SHOW(chdir(".."));
    SHOW(rmdir("folder"));
    SHOW(chdir("does-not-exist"));
}
