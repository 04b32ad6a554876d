/* A server that listens at port 7777 and never accepts. */
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

int main(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(7777) };
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t never = PTHREAD_COND_INITIALIZER;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 5))
        return 1;
    pthread_mutex_lock(&mutex);
    for (;;)
        pthread_cond_wait(&never, &mutex);
}
