// kind: pthread_atfork's handlers run in order in parent and child
#include "odd.h"

static void before_a(void) { say("before a\n"); }
static void before_b(void) { say("before b\n"); }
static void parent_a(void) { say("parent a\n"); }
static void parent_b(void) { say("parent b\n"); }
static int in_child;
static void child_a(void) { in_child = in_child * 10 + 1; }
static void child_b(void) { in_child = in_child * 10 + 2; }

static void odd(void) {
    int status;
    CODE(pthread_atfork(before_a, parent_a, child_a));
    CODE(pthread_atfork(before_b, parent_b, child_b));
    pid_t child = fork();
    if (child == 0) _exit(in_child);
    MUST(waitpid(child, &status, 0) == child);
    say("child %d\n", WEXITSTATUS(status));
}
