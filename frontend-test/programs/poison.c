/*
 * A server that counts requests in a file and in memory, and crashes by one request.
 *
 * Each line but "POISON" is appended to the file "requests" before it is answered by the number of
 * lines in the file, the number that this process has taken, and 8 random bytes of its start.
 * "POISON" makes a thread write to address 0, while others wait for their clients.
 */
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include "serve.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *requests;
static long in_file, taken;
static uint64_t drawn;

static void take(int fd, const char *line) {
    char answer[100];
    pthread_mutex_lock(&lock);
    fprintf(requests, "%s\n", line);
    fflush(requests);
    int length =
        snprintf(answer, sizeof answer, "%ld %ld %016lx\n", ++in_file, ++taken, (long)drawn);
    pthread_mutex_unlock(&lock);
    if (write(fd, answer, length) != length) perror("write");
}

static void *serve(void *number) {
    int fd = (int)(long)number;
    FILE *input = fdopen(dup(fd), "r");
    char line[256];
    while (fgets(line, sizeof line, input)) {
        line[strcspn(line, "\n")] = 0;
        if (!strcmp(line, "POISON")) *(volatile int *)0 = 0;
        take(fd, line);
    }
    fclose(input);
    close(fd);
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 2 || !(requests = fopen("requests", "a+"))) return 2;
    for (int c; (c = fgetc(requests)) != EOF;) in_file += c == '\n';
    if (getrandom(&drawn, sizeof drawn, 0) != sizeof drawn) return 2;
    return serve_each(listen_at(arguments[1]), serve);
}
