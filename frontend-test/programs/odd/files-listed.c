// kind: scandir, glob, nftw, statx, renameat2 and holes of a file, in a folder of the program's own
#include "odd.h"
#include <dirent.h>
#include <ftw.h>
#include <glob.h>

static int visits;

static int visit(const char *path, const struct stat *entry, int kind, struct FTW *at) {
    (void)path, (void)entry, (void)kind;
    visits += 1 + at->level;
    return 0;
}

static int is_text(const struct dirent *entry) { return strstr(entry->d_name, ".txt") != NULL; }

static void odd(void) {
    struct dirent **list;
    struct statx state;
    glob_t found;
    char path[] = "odd-listed-XXXXXX";
    MUST(mkdtemp(path) != NULL && chdir(path) == 0);
    const char *names[] = {"b.txt", "a.txt", "c.bin"};
    for (int i = 0; i < 3; i++) close(open(names[i], O_CREAT | O_WRONLY, 0640));
    SHOW(mkdir("inner", 0700));
    int count = scandir(".", &list, is_text, alphasort);
    SHOW(count);
    for (int i = 0; i < count; i++) say("%s\n", list[i]->d_name), free(list[i]);
    free(list);
    SHOW(glob("*.t?t", 0, NULL, &found));
    for (size_t i = 0; i < found.gl_pathc; i++) say("%s\n", found.gl_pathv[i]);
    globfree(&found);
    SHOW(glob("*.none", 0, NULL, &found) == GLOB_NOMATCH);
    SHOW(nftw(".", visit, 8, FTW_PHYS));
    SHOW(visits);
    SHOW(statx(AT_FDCWD, "a.txt", 0, STATX_BASIC_STATS, &state));
    say("%o %d\n", state.stx_mode & ~S_IFMT, (int)state.stx_size);
    SHOW(renameat2(AT_FDCWD, "a.txt", AT_FDCWD, "b.txt", RENAME_NOREPLACE));
    int fd = open("c.bin", O_RDWR);
    SHOW(ftruncate(fd, 1 << 20));
    SHOW(lseek(fd, 1 << 20, SEEK_HOLE));
    SHOW(pwrite(fd, "x", 1, 1 << 19));
    SHOW(lseek(fd, 0, SEEK_DATA) <= 1 << 19);
    SHOW(lseek(fd, 0, 77));
    SHOW(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    close(fd);
    for (int i = 0; i < 3; i++) remove(names[i]);
    remove("inner");
    SHOW(chdir(".."));
    SHOW(rmdir(path));
}
