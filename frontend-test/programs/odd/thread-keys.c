// kind: thread-specific values: destructors' rounds, deletion, the limit
#include "odd.h"

static pthread_key_t key;
static int rounds;

static void again(void *value) {
    rounds++;
    pthread_setspecific(key, value);
}

static void *use(void *argument) {
    pthread_setspecific(key, argument);
    return argument;
}

static void odd(void) {
    pthread_t thread;
    pthread_key_t many[PTHREAD_KEYS_MAX + 1];
    int made = 0;
    CODE(pthread_key_create(&key, again));
    start(&thread, use, &rounds);
    pthread_join(thread, NULL);
    say("rounds %d\n", rounds);
    SHOW(pthread_getspecific(key) == NULL);
    CODE(pthread_key_delete(key));
    CODE(pthread_key_delete(key));
    CODE(pthread_setspecific(key, &made));
    while (made <= PTHREAD_KEYS_MAX && pthread_key_create(&many[made], NULL) == 0) made++;
    say("a limit %d\n", made > 100 && made <= PTHREAD_KEYS_MAX);
    for (int i = 0; i < made; i++) pthread_key_delete(many[i]);
}
