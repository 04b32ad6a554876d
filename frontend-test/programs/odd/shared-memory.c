// kind: shared memory of System V and by shm_open, between threads
#include "odd.h"
#include <sys/ipc.h>
#include <sys/shm.h>

static void odd(void) {
    char name[32], text[8] = "";
    struct shmid_ds state;
    int segment = shmget(IPC_PRIVATE, 8192, 0600);
    OK(segment);
    char *one = shmat(segment, NULL, 0), *two = shmat(segment, NULL, SHM_RDONLY);
    MUST(one != (void *)-1 && two != (void *)-1);
    strcpy(one, "written once");
    say("%s\n", two);
    SHOW(shmctl(segment, IPC_STAT, &state));
    say("%zu bytes, %lu attached\n", state.shm_segsz, (unsigned long)state.shm_nattch);
    SHOW(shmctl(segment, IPC_RMID, NULL));
    SHOW(shmdt(one));
    SHOW(shmdt(one));
    SHOW(shmdt(two));
    SHOW(shmget(IPC_PRIVATE, 0, 0600));
    snprintf(name, sizeof name, "/shm-%d-%d", (int)getpid(), port);
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    OK(fd);
    SHOW(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
    SHOW(ftruncate(fd, 4096));
    one = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(one != MAP_FAILED);
    strcpy(one, "mapped");
    SHOW(pread(fd, text, 6, 0));
    say("%s\n", text);
    SHOW(munmap(one, 4096));
    SHOW(shm_unlink(name));
    SHOW(shm_unlink(name));
}
