/*
 * A stand-in for a static busybox, which is not installed everywhere. Linked with -static, it runs
 * `sh -c 'exec "$0" "$@"' SERVER ARGS...` only as far as it lets the server take its place.
 */
#include <stdio.h>
#include <unistd.h>

int main(int count, char **arguments) {
    if (count < 5) {
        fprintf(stderr, "usage: busybox sh -c SCRIPT SERVER [ARGS...]\n");
        return 2;
    }
    execv(arguments[4], arguments + 4);
    perror(arguments[4]);
    return 127;
}
