// The server of racy.c for C++: answers depend on how its threads interleave.
#include <arpa/inet.h>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

static const int ROUNDS = 300;
static std::mutex lock;
static unsigned long counter;
static volatile unsigned long plain;
static std::atomic<unsigned long> added;

static unsigned long add() {
    std::lock_guard<std::mutex> guard(lock);
    return ++counter;
}

static void serve(int descriptor) {
    FILE *in = fdopen(descriptor, "r");
    char line[256];
    while (in && fgets(line, sizeof line, in)) {
        std::string name(line);
        name.pop_back();
        unsigned long first = add(), last = first;
        for (int round = 1; round < ROUNDS; round++) {
            // A race on purpose: an addition of another thread may be lost.
            unsigned long before = plain;
            added.fetch_add(1, std::memory_order_relaxed);
            std::this_thread::yield();
            plain = before + 1;
            last = add();
        }
        name += " moved " + std::to_string(last - first) + " to "
            + std::to_string(last + plain + added.load()) + "\n";
        if (send(descriptor, name.data(), name.size(), MSG_NOSIGNAL) < 0) break;
    }
    if (in) fclose(in);
}

int main(int, char **words) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    sockaddr_in at = {};
    at.sin_family = AF_INET;
    at.sin_port = htons(atoi(words[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (sockaddr *)&at, sizeof at) || listen(listener, 64)) return 1;
    for (;;) {
        int descriptor = accept(listener, nullptr, nullptr);
        if (descriptor >= 0) std::thread(serve, descriptor).detach();
    }
}
