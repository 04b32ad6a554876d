// kind: /proc/cpuinfo, meminfo, stat, uptime, uuid, files of the process: forms and figures
#include "odd.h"

static char text[1 << 18];

/* Reads a file by open and read, and returns its length. */
static long take(const char *path, int flags) {
    int fd = open(path, O_RDONLY | flags);
    long length = 0, got;
    MUST(fd >= 0);
    while ((got = read(fd, text + length, sizeof text - 1 - length)) > 0) length += got;
    text[length] = 0;
    int begins = lseek(fd, 0, SEEK_SET) == 0, again = read(fd, text, 1) == 1;
    say("%s: closes at exec %d, begins %d, again %d\n", path,
        fcntl(fd, F_GETFD) == FD_CLOEXEC, begins, again);
    SHOW(write(fd, "x", 1));
    close(fd);
    return length;
}

static int count(const char *word) {
    int found = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++) found++;
    return found;
}

static long value(const char *name) {
    const char *at = strstr(text, name);
    return at == NULL ? -1 : atol(at + strlen(name));
}

static void odd(void) {
    char line[4096], name[64] = "", state = 0;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    take("/proc/cpuinfo", O_CLOEXEC);
    SHOW(count("processor\t:") == processors);
    take("/proc/meminfo", 0);
    SHOW(value("MemTotal:") == sysconf(_SC_PHYS_PAGES) * (sysconf(_SC_PAGESIZE) / 1024));
    SHOW(value("MemFree:") > 0 && value("MemFree:") <= value("MemTotal:"));
    take("/proc/stat", 0);
    SHOW(count("\ncpu") == processors);
    take("/proc/uptime", 0);
    SHOW(atof(text) > 1);
    take("/proc/loadavg", 0);
    SHOW(count("/") == 1);
    take("/proc/sys/kernel/random/uuid", 0);
    SHOW(strlen(text) == 37 && text[14] == '4');
    strcpy(line, text);
    take("/proc/sys/kernel/random/uuid", 0);
    SHOW(strcmp(line, text) != 0);
    snprintf(line, sizeof line, "/proc/%d/statm", getpid());
    int fd = open(line, O_RDONLY);
    MUST(fd >= 0);
    long length = read(fd, text, sizeof text - 1);
    text[length > 0 ? length : 0] = 0;
    int found = 0, used = 0;
    for (char *at = text; sscanf(at, "%*d%n", &used) == 0 && used > 0; at += used, used = 0)
        found++;
    say("statm: %d numbers\n", found);
    close(fd);
    FILE *file = fopen("/proc/self/stat", "re");
    MUST(file != NULL && fgets(line, sizeof line, file));
    int pid = 0, fields = 2;
    MUST(sscanf(line, "%d (%63[^)]) %c", &pid, name, &state) == 3);
    for (char *at = strrchr(line, ')'); (at = strchr(at + 1, ' ')) != NULL;) fields++;
    say("stat: own %d, %s, %c, %d fields, closes at exec %d\n", pid == getpid(), name, state,
        fields, fcntl(fileno(file), F_GETFD) == FD_CLOEXEC);
    fclose(file);
    MUST((file = fopen("/proc/self/status", "r")) != NULL);
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, "VmRSS:", 6)) SHOW(atol(line + 6) > 0 && strstr(line, " kB\n") != NULL);
    fclose(file);
    SHOW(open("/proc/self/nothing", O_RDONLY));
    SHOW(open((const char *)8, O_RDONLY));
    SHOW(open("/proc/meminfo", O_RDONLY | O_DIRECTORY));
}
