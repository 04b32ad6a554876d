// kind: fields of /proc/self/stat, status and cmdline that do not depend on the machine
#include "odd.h"

static void odd(void) {
    char text[4096], name[64] = "", state = 0;
    int pid = 0, parent = 0;
    FILE *file = fopen("/proc/self/stat", "r");
    MUST(file != NULL);
    MUST(fscanf(file, "%d (%63[^)]) %c %d", &pid, name, &state, &parent) == 4);
    fclose(file);
    say("%d %s %c %d\n", pid == getpid(), name, state, parent == getppid());
    MUST((file = fopen("/proc/self/status", "r")) != NULL);
    while (fgets(text, sizeof text, file)) {
        if (!strncmp(text, "Name:", 5) || !strncmp(text, "Threads:", 8)) say("%s", text);
    }
    fclose(file);
    MUST((file = fopen("/proc/self/cmdline", "r")) != NULL);
    size_t size = fread(text, 1, sizeof text, file);
    fclose(file);
    int words = 0;
    for (size_t i = 0; i < size; i++) words += text[i] == 0;
    say("%d, %s\n", words >= 2, strrchr(text, '/') ? strrchr(text, '/') + 1 : text);
    SHOW(readlink("/proc/self/exe", text, sizeof text) > 0);
    MUST((file = fopen("/proc/self/limits", "r")) != NULL && fgets(text, sizeof text, file));
    say("%.5s\n", text);
    fclose(file);
    SHOW(access("/proc/self/task", F_OK));
}
