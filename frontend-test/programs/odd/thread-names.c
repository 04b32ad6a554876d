// kind: names of threads by prctl and by pthread_setname_np, as the kernel lists them
#include "odd.h"
#include <sys/prctl.h>

static sem_t named, finish;

static void *routine(void *argument) {
    prctl(PR_SET_NAME, "second");
    sem_post(&named);
    sem_wait(&finish);
    return argument;
}

static void odd(void) {
    char name[32] = "";
    pthread_t thread;
    SHOW(prctl(PR_SET_NAME, "a-name-that-is-much-too-long"));
    SHOW(prctl(PR_GET_NAME, name));
    say("%s\n", name);
    CODE(pthread_getname_np(pthread_self(), name, sizeof name));
    say("%s\n", name);
    CODE(pthread_setname_np(pthread_self(), "a-name-that-is-much-too-long"));
    CODE(pthread_getname_np(pthread_self(), name, 3));
    sem_init(&named, 0, 0);
    sem_init(&finish, 0, 0);
    start(&thread, routine, NULL);
    sem_wait(&named);
    CODE(pthread_getname_np(thread, name, sizeof name));
    say("%s\n", name);
    CODE(pthread_setname_np(thread, "renamed"));
    CODE(pthread_getname_np(thread, name, sizeof name));
    say("%s\n", name);
    FILE *file = fopen("/proc/thread-self/comm", "r");
    MUST(file != NULL && fgets(name, sizeof name, file) != NULL);
    say("%s", name);
    fclose(file);
    sem_post(&finish);
    pthread_join(thread, NULL);
    SHOW(prctl(PR_GET_DUMPABLE));
    SHOW(prctl(PR_GET_KEEPCAPS));
    SHOW(prctl(PR_SET_PDEATHSIG, 0));
    SHOW(prctl(9999));
}
