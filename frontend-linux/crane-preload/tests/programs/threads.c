/* Corners of locks, threads, time and chance. */
#include "corners.h"

/* ---- locks ---- */

static pthread_mutex_t of_kind(int type, int robust) {
    pthread_mutexattr_t attributes;
    pthread_mutex_t mutex;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, type);
    if (robust) pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    CHECK(!pthread_mutex_init(&mutex, &attributes));
    return mutex;
}

static void *lock_it(void *mutex) { return (void *)(long)pthread_mutex_lock(mutex); }
static void *unlock_it(void *mutex) { return (void *)(long)pthread_mutex_unlock(mutex); }
static void *try_it(void *mutex) { return (void *)(long)pthread_mutex_trylock(mutex); }

static void *hold_a_while(void *mutex) {
    CHECK(!pthread_mutex_lock(mutex));
    usleep(30000);
    return (void *)(long)pthread_mutex_unlock(mutex);
}

static void mutexes(void) {
    pthread_mutex_t checked = of_kind(PTHREAD_MUTEX_ERRORCHECK, 0);
    CHECK(!pthread_mutex_lock(&checked) && pthread_mutex_lock(&checked) == EDEADLK);
    CHECK((long)result_of(begin(unlock_it, &checked)) == EPERM);
    CHECK(!pthread_mutex_unlock(&checked) && pthread_mutex_unlock(&checked) == EPERM);
    pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;
    pthread_t holder = begin(hold_a_while, &plain);
    usleep(10000);
    struct timespec soon = in(CLOCK_REALTIME, 5 * MS), late = in(CLOCK_MONOTONIC, 1000 * MS);
    CHECK(pthread_mutex_timedlock(&plain, &soon) == ETIMEDOUT);
    CHECK(pthread_mutex_timedlock(&plain, &wrong) == EINVAL);
    CHECK(!pthread_mutex_clocklock(&plain, CLOCK_MONOTONIC, &late));
    CHECK(!result_of(holder) && !pthread_mutex_unlock(&plain));
    CHECK(!pthread_mutex_timedlock(&plain, &wrong)); /* free: the time is not looked at */
    CHECK((long)result_of(begin(try_it, &plain)) == EBUSY && !pthread_mutex_unlock(&plain));
}

static void *die_later_with(void *mutex) {
    CHECK(!pthread_mutex_lock(mutex));
    usleep(20000);
    return NULL;
}

static void robust(void) {
    pthread_mutex_t mutex = of_kind(PTHREAD_MUTEX_NORMAL, 1);
    CHECK(!result_of(begin(lock_it, &mutex)));
    CHECK(pthread_mutex_trylock(&mutex) == EOWNERDEAD);
    CHECK(!pthread_mutex_consistent(&mutex) && !pthread_mutex_unlock(&mutex));
    pthread_t owner = begin(die_later_with, &mutex);
    usleep(5000);
    CHECK(pthread_mutex_lock(&mutex) == EOWNERDEAD); /* it waited when the owner died */
    CHECK(!pthread_mutex_unlock(&mutex) && pthread_mutex_lock(&mutex) == ENOTRECOVERABLE);
    result_of(owner);
}

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static void *try_reading(void *_) {
    struct timespec soon = in(CLOCK_REALTIME, 5 * MS);
    return (void *)(long)pthread_rwlock_timedrdlock(&rwlock, &soon);
}

static void rwlocks(void) {
    struct timespec soon = in(CLOCK_REALTIME, 5 * MS), later = in(CLOCK_MONOTONIC, 10 * MS);
    CHECK(!pthread_rwlock_wrlock(&rwlock));
    CHECK(pthread_rwlock_wrlock(&rwlock) == EDEADLK && pthread_rwlock_rdlock(&rwlock) == EDEADLK);
    CHECK((long)result_of(begin(try_reading, NULL)) == ETIMEDOUT);
    CHECK(!pthread_rwlock_unlock(&rwlock) && !pthread_rwlock_rdlock(&rwlock));
    CHECK(pthread_rwlock_timedwrlock(&rwlock, &wrong) == EINVAL);
    CHECK(pthread_rwlock_timedwrlock(&rwlock, &soon) == ETIMEDOUT);
    CHECK(pthread_rwlock_clockwrlock(&rwlock, CLOCK_MONOTONIC, &later) == ETIMEDOUT);
    CHECK(!result_of(begin(try_reading, NULL)) && !pthread_rwlock_unlock(&rwlock));
}

static void semaphores(void) {
    sem_t sem;
    struct timespec past = {1, 0}, soon = in(CLOCK_MONOTONIC, 5 * MS);
    CHECK(!sem_init(&sem, 0, 1));
    CHECK(!sem_timedwait(&sem, &wrong) || errno == EINVAL);
    CHECK(!sem_init(&sem, 0, 0));
    CHECK(sem_timedwait(&sem, &wrong) == -1 && errno == EINVAL);
    CHECK(sem_timedwait(&sem, &past) == -1 && errno == ETIMEDOUT);
    CHECK(sem_clockwait(&sem, CLOCK_MONOTONIC, &soon) == -1 && errno == ETIMEDOUT);
    CHECK(now(CLOCK_MONOTONIC) >= soon.tv_sec * 1000000000LL + soon.tv_nsec);
    CHECK(!sem_init(&sem, 0, SEM_VALUE_MAX) && sem_post(&sem) == -1 && errno == EOVERFLOW);
}

struct crowd {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    int waiting, gone;
};

static void *wait_in(void *argument) {
    struct crowd *crowd = argument;
    pthread_mutex_lock(&crowd->mutex);
    crowd->waiting++;
    pthread_cond_wait(&crowd->cond, &crowd->mutex);
    crowd->gone++;
    pthread_mutex_unlock(&crowd->mutex);
    return NULL;
}

static void conditions(void) {
    pthread_condattr_t monotonic;
    pthread_cond_t cond;
    pthread_mutex_t mutex = of_kind(PTHREAD_MUTEX_ERRORCHECK, 0);
    pthread_condattr_init(&monotonic);
    CHECK(!pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC));
    CHECK(!pthread_cond_init(&cond, &monotonic) && !pthread_mutex_lock(&mutex));
    struct timespec soon = in(CLOCK_MONOTONIC, 5 * MS), past = {1, 0};
    CHECK(!pthread_cond_signal(&cond)); /* nobody waits: forgotten */
    CHECK(pthread_cond_timedwait(&cond, &mutex, &soon) == ETIMEDOUT);
    CHECK(now(CLOCK_MONOTONIC) >= soon.tv_sec * 1000000000LL + soon.tv_nsec);
    CHECK(pthread_cond_timedwait(&cond, &mutex, &past) == ETIMEDOUT);
    CHECK(pthread_cond_timedwait(&cond, &mutex, &wrong) == EINVAL);
    soon = in(CLOCK_REALTIME, 5 * MS);
    CHECK(pthread_cond_clockwait(&cond, &mutex, CLOCK_REALTIME, &soon) == ETIMEDOUT);
    CHECK(!pthread_mutex_unlock(&mutex));
    CHECK(pthread_cond_wait(&cond, &mutex) == EPERM); /* not the owner */
    struct crowd crowd = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) threads[i] = begin(wait_in, &crowd);
    for (int all = 0; !all;) {
        usleep(1000);
        pthread_mutex_lock(&crowd.mutex);
        all = crowd.waiting == 3;
        pthread_mutex_unlock(&crowd.mutex);
    }
    pthread_cond_signal(&crowd.cond);
    usleep(20000);
    CHECK(crowd.gone >= 1);
    pthread_cond_broadcast(&crowd.cond);
    for (int i = 0; i < 3; i++) result_of(threads[i]);
    CHECK(crowd.gone == 3 && !pthread_cond_destroy(&crowd.cond));
    /* A recursive mutex held once is given up. */
    pthread_mutex_t recursive = of_kind(PTHREAD_MUTEX_RECURSIVE, 0);
    struct timespec end = in(CLOCK_REALTIME, 2 * MS);
    pthread_cond_t other = PTHREAD_COND_INITIALIZER;
    CHECK(!pthread_mutex_lock(&recursive));
    CHECK(pthread_cond_timedwait(&other, &recursive, &end) == ETIMEDOUT);
    CHECK(!pthread_mutex_unlock(&recursive));
}

/* ---- threads ---- */

static pthread_key_t key;
static int destroyed;
static void destroy(void *value) {
    destroyed++;
    if ((long)value < 3) pthread_setspecific(key, (void *)((long)value + 1));
}

static void *use_key(void *value) {
    pthread_setspecific(key, value);
    return (void *)pthread_self();
}

static void *join_it(void *thread) {
    return (void *)(long)pthread_join(*(pthread_t *)thread, NULL);
}

static void *doze(void *microseconds) {
    usleep((long)microseconds);
    return microseconds;
}

static void *leave(void *value) { pthread_exit(value); }

static void threads(void) {
    CHECK(!pthread_key_create(&key, destroy));
    result_of(begin(use_key, (void *)1));
    CHECK(destroyed == 3);
    pthread_t self = pthread_self(), sleeper = begin(doze, (void *)30000L);
    CHECK(pthread_join(self, NULL) == EDEADLK);
    struct timespec soon = in(CLOCK_REALTIME, 2 * MS), late = in(CLOCK_MONOTONIC, 1000 * MS);
    void *result;
    CHECK(pthread_tryjoin_np(sleeper, &result) == EBUSY);
    CHECK(pthread_timedjoin_np(sleeper, &result, &soon) == ETIMEDOUT);
    CHECK(!pthread_clockjoin_np(sleeper, &result, CLOCK_MONOTONIC, &late));
    CHECK(result == (void *)30000L);
    CHECK(result_of(begin(leave, &key)) == &key);
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    CHECK(!pthread_create(&sleeper, &detached, doze, (void *)20000L));
    CHECK((long)result_of(begin(join_it, &sleeper)) == EINVAL);
    CHECK(pthread_detach(sleeper) == EINVAL);
    /* Many, one after the other: numbers return. */
    for (int i = 0; i < 3000; i++) result_of(begin(doze, NULL));
}

static void *end_process(void *thread) {
    CHECK(!pthread_join(*(pthread_t *)thread, NULL));
    printf("exited ok\n");
    fflush(stdout);
    _exit(0);
}

/* The first thread may end before the others. */
static void exited(void) {
    static pthread_t self;
    self = pthread_self();
    begin(end_process, &self);
    pthread_exit(NULL);
}

static int cleaned;
static void clean(void *mutex) {
    cleaned++;
    if (mutex) CHECK(!pthread_mutex_unlock(mutex));
}

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t signalled = PTHREAD_COND_INITIALIZER;
static int ends[2];
static sem_t empty;

static void *wait_for(void *what) {
    char byte;
    pthread_mutex_t *mutex = (long)what == 1 ? &guard : NULL;
    pthread_cleanup_push(clean, mutex);
    switch ((long)what) {
    case 0: CHECK(read(ends[0], &byte, 1) == 0); break;
    case 1:
        pthread_mutex_lock(&guard);
        pthread_cond_wait(&signalled, &guard);
        break;
    case 2: sem_wait(&empty); break;
    case 3: sleep(1000); break;
    case 4: poll(&(struct pollfd){.fd = ends[0], .events = POLLIN}, 1, -1); break;
    case 5: epoll_wait(epoll_create1(0), &(struct epoll_event){0}, 1, -1); break;
    case 6: for (;;) { usleep(10); pthread_testcancel(); }
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static void *not_now(void *_) {
    int before;
    CHECK(!pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before));
    usleep(30000);
    cleaned = 100;
    CHECK(!pthread_setcancelstate(before, NULL));
    sleep(1000);
    return NULL;
}

static void cancellation(void) {
    CHECK(!pipe(ends) && !sem_init(&empty, 0, 0));
    for (long what = 0; what < 7; what++) {
        pthread_t thread = begin(wait_for, (void *)what);
        usleep(10000);
        CHECK(!pthread_cancel(thread));
        CHECK(result_of(thread) == PTHREAD_CANCELED && cleaned == what + 1);
        CHECK(!pthread_mutex_trylock(&guard) && !pthread_mutex_unlock(&guard));
    }
    pthread_t thread = begin(not_now, NULL);
    usleep(10000);
    CHECK(!pthread_cancel(thread));
    CHECK(result_of(thread) == PTHREAD_CANCELED && cleaned == 100);
    /* Asked for before it waits. */
    thread = begin(wait_for, (void *)3L);
    CHECK(!pthread_cancel(thread) && result_of(thread) == PTHREAD_CANCELED);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int tries;
static void try_once(void) {
    if (++tries == 1) pthread_exit(NULL);
}
static void *do_once(void *_) {
    pthread_once(&once, try_once);
    return NULL;
}

/* A routine that does not return has not run. */
static void onces(void) {
    result_of(begin(do_once, NULL));
    result_of(begin(do_once, NULL));
    do_once(NULL);
    CHECK(tries == 2);
}

static pthread_barrier_t barrier;
static void *meet(void *_) {
    long serial = 0;
    for (int i = 0; i < 50; i++)
        serial += pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD;
    return (void *)serial;
}

static void barriers(void) {
    CHECK(pthread_barrier_init(&barrier, NULL, 0) == EINVAL);
    CHECK(!pthread_barrier_init(&barrier, NULL, 3));
    pthread_t a = begin(meet, NULL), b = begin(meet, NULL);
    CHECK((long)meet(NULL) + (long)result_of(a) + (long)result_of(b) == 50);
    CHECK(!pthread_barrier_destroy(&barrier));
}

/* ---- time and chance ---- */

static void times(void) {
    struct timespec t = {0, 5 * MS}, past = {1, 0}, none = {0, 0};
    long long before = now(CLOCK_MONOTONIC);
    struct timespec until = in(CLOCK_MONOTONIC, 5 * MS);
    CHECK(!clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL));
    CHECK(now(CLOCK_MONOTONIC) - before >= 5 * MS);
    until = in(CLOCK_REALTIME, 5 * MS);
    CHECK(!clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL));
    CHECK(now(CLOCK_REALTIME) >= until.tv_sec * 1000000000LL + until.tv_nsec);
    CHECK(!clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &past, NULL));
    CHECK(!clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL) && !nanosleep(&none, NULL));
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &wrong, NULL) == EINVAL);
    CHECK(clock_nanosleep(77, 0, &t, NULL) == EINVAL);
    CHECK(nanosleep(&wrong, NULL) == -1 && errno == EINVAL && !usleep(0) && !sleep(0));
    CHECK(clock_gettime(77, &t) == -1 && errno == EINVAL);
    struct timeval day;
    time_t seconds;
    CHECK(!gettimeofday(&day, NULL) && time(&seconds) == seconds && seconds >= day.tv_sec);
    CHECK(now(CLOCK_BOOTTIME) > 0 && now(CLOCK_MONOTONIC_RAW) > 0);
    CHECK(now(CLOCK_REALTIME_COARSE) <= now(CLOCK_REALTIME));
    CHECK(clock() >= 0 && now(CLOCK_PROCESS_CPUTIME_ID) >= 0 && now(CLOCK_THREAD_CPUTIME_ID) >= 0);
    CHECK(timespec_get(&t, TIME_UTC) == TIME_UTC && t.tv_sec >= seconds);
}

static void chances(void) {
    char bytes[300], other[300];
    CHECK(getrandom(bytes, 300, GRND_NONBLOCK) == 300 && getrandom(other, 300, GRND_RANDOM) == 300);
    CHECK(memcmp(bytes, other, 300));
    CHECK(getrandom(bytes, 10, 0x100) == -1 && errno == EINVAL);
    CHECK(getentropy(bytes, 257) == -1 && errno == EIO && !getentropy(bytes, 256));
    FILE *file = fopen("/dev/urandom", "rb");
    CHECK(file && fread(bytes, 1, 300, file) == 300 && !fclose(file));
    int source = open("/dev/random", O_RDONLY | O_CLOEXEC), copy;
    CHECK(source >= 0 && (copy = dup(source)) >= 0 && !close(source));
    struct iovec parts[] = {{bytes, 10}, {other, 20}};
    CHECK(readv(copy, parts, 2) == 30);
    struct pollfd ready = {.fd = copy, .events = POLLIN};
    CHECK(poll(&ready, 1, 0) == 1 && ready.revents == POLLIN && !close(copy));
    CHECK(arc4random_uniform(1) == 0 && arc4random_uniform(10) < 10);
}

/* ---- signals to threads ---- */

static int out[2];
static sem_t handled;
static volatile int handlers;

/* The handler calls hooks: it writes to a pipe and frees a semaphore. */
static void on_signal(int number) {
    (void)number;
    handlers++;
    CHECK(write(out[1], "h", 1) == 1 && !sem_post(&handled));
}

static void handle(int flags) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    CHECK(!sigaction(SIGUSR1, &action, NULL));
}

static int quiet[2]; /* nothing is written there */

static void *interrupted_poll(void *unused) {
    struct pollfd one = {.fd = quiet[0], .events = POLLIN};
    CHECK(poll(&one, 1, -1) == -1 && errno == EINTR);
    return unused;
}

static void *interrupted_select(void *unused) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(quiet[0], &set);
    CHECK(select(quiet[0] + 1, &set, NULL, NULL, NULL) == -1 && errno == EINTR);
    return unused;
}

static void *interrupted_epoll(void *unused) {
    int instance = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK(!epoll_ctl(instance, EPOLL_CTL_ADD, quiet[0], &event));
    CHECK(epoll_wait(instance, &event, 1, -1) == -1 && errno == EINTR && !close(instance));
    return unused;
}

static void *interrupted_sleep(void *unused) {
    struct timespec t = {50, 0}, left = {0, 0};
    CHECK(nanosleep(&t, &left) == -1 && errno == EINTR && left.tv_sec == 49);
    return unused;
}

static void *interrupted_clock(void *unused) {
    struct timespec t = {50, 0}, left = {0, 0};
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &left) == EINTR && left.tv_sec == 49);
    return unused;
}

static void *interrupted_seconds(void *unused) {
    CHECK(sleep(50) == 49);
    return unused;
}

static void *interrupted_read(void *unused) {
    char byte;
    CHECK(read(quiet[0], &byte, 1) == -1 && errno == EINTR);
    return unused;
}

static void *interrupted_semaphore(void *unused) {
    sem_t never;
    CHECK(!sem_init(&never, 0, 0) && sem_wait(&never) == -1 && errno == EINTR);
    return unused;
}

static void *restarted_read(void *unused) {
    char byte;
    CHECK(read(out[0], &byte, 1) == 1 && byte == 'h' && !sem_wait(&handled));
    return unused;
}

static void *restarted_semaphore(void *unused) {
    char byte;
    CHECK(!sem_wait(&handled) && read(out[0], &byte, 1) == 1);
    return unused;
}

static void *blocks_it(void *unused) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK(!pthread_sigmask(SIG_BLOCK, &set, NULL) && !usleep(100000) && !handlers);
    CHECK(!pthread_sigmask(SIG_UNBLOCK, &set, NULL) && handlers == 1);
    return unused;
}

/* Runs a waiting thread and sends it a signal. */
static void signal_to(void *(*waiting)(void *)) {
    handlers = 0;
    pthread_t thread = begin(waiting, NULL);
    usleep(30000);
    CHECK(!pthread_kill(thread, SIGUSR1));
    CHECK(!result_of(thread) && handlers == 1);
}

static void kills(void) {
    void *(*const interrupted[])(void *) = {
        interrupted_poll, interrupted_select, interrupted_epoll, interrupted_sleep,
        interrupted_clock, interrupted_seconds, interrupted_read, interrupted_semaphore, blocks_it,
    };
    CHECK(!pipe(out) && !pipe(quiet) && !sem_init(&handled, 0, 0));
    for (size_t i = 0; i < sizeof interrupted / sizeof *interrupted; i++) {
        char byte;
        handle(i < 6 ? SA_RESTART : 0); /* the first six never start again */
        signal_to(interrupted[i]);
        CHECK(read(out[0], &byte, 1) == 1 && !sem_trywait(&handled));
    }
    handle(SA_RESTART);
    signal_to(restarted_read);
    signal_to(restarted_semaphore);
    handlers = 0;
    CHECK(!pthread_kill(pthread_self(), SIGUSR1) && handlers == 1);
    CHECK(!pthread_kill(pthread_self(), 0) && pthread_kill(pthread_self(), 65) == EINVAL);
}

static const struct probe probes[] = {
    {"mutexes", mutexes}, {"robust", robust}, {"rwlocks", rwlocks}, {"semaphores", semaphores},
    {"conditions", conditions}, {"threads", threads}, {"exited", exited},
    {"cancellation", cancellation}, {"onces", onces}, {"barriers", barriers}, {"times", times},
    {"chances", chances}, {"kills", kills},
};

int main(int count, char **arguments) {
    return count < 2 ? 2 : run_probe(arguments[1], probes, sizeof probes / sizeof *probes);
}
