// Starts the helpers, hands them their work, and waits for them. For any processor.
#include "team.h"

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <new>
#include <pthread.h>
#include <sched.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

// Lets the processor breathe in a loop that waits, and from some number of turns on lets others run.
void pause_for(int turns) {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");  // `yield` takes no time there
#endif
    if (turns > 2000) sched_yield();
}

constexpr int MOST = 255;          // helpers
constexpr int TURNS = 1000;        // a helper spins for its next work, some 50 µs, before it sleeps: waking it takes as long
constexpr size_t STACK = 1 << 20;  // bytes, of which the kernels need a few thousand

typedef void (*Work)(void*, int, int);

// A helper that the system has put on its caller's core, while another thread had the others, may stay there for a second after
// they have become free: both look busy, and each as if its cache were worth keeping. So it moves away before it works.
int core_of_caller() {
#if defined(__linux__)
    return sched_getcpu();
#else
    return -1;
#endif
}
void leave(int core) {
#if defined(__linux__)
    cpu_set_t before, others;
    if (core < 0 || core >= CPU_SETSIZE || sched_getcpu() != core || sched_getaffinity(0, sizeof(before), &before)) return;
    others = before;
    CPU_CLR(core, &others);
    if (CPU_COUNT(&others) && !sched_setaffinity(0, sizeof(others), &others)) sched_setaffinity(0, sizeof(before), &before);
#endif
}

struct Helper {
    std::mutex mutex;
    std::condition_variable called;
    std::atomic<bool> wanted{false};
    bool asleep = false;  // under the mutex
    std::atomic<int>* left = nullptr;  // helpers of the call that have not finished
    Work work = nullptr;
    void* argument = nullptr;
    int thread = 0, threads = 0, core = -1;

    void call(Work work, void* argument, int thread, int threads, std::atomic<int>* left) {
        this->work = work, this->argument = argument, this->thread = thread, this->threads = threads;
        this->left = left, this->core = core_of_caller();
        std::lock_guard<std::mutex> lock(mutex);
        wanted.store(true, std::memory_order_release);
        if (asleep) called.notify_one();
    }

    void serve() {
        for (;;) {
            for (int turns = 0; turns < TURNS && !wanted.load(std::memory_order_acquire); ++turns) pause_for(0);
            if (!wanted.load(std::memory_order_acquire)) {
                std::unique_lock<std::mutex> lock(mutex);
                asleep = true;
                called.wait(lock, [this] { return wanted.load(std::memory_order_acquire); });
                asleep = false;
            }
            leave(core);
            work(argument, thread, threads);
            std::atomic<int>* const still_left = left;
            wanted.store(false, std::memory_order_relaxed);
            still_left->fetch_sub(1, std::memory_order_release);  // from here on the next call may come
        }
    }
};

void* serve(void* helper) {
    ((Helper*)helper)->serve();
    return nullptr;
}

struct Team {
    std::mutex busy;  // held during a call
    Helper* helpers[MOST];
    int count = 0;

    // Starts helpers until there are so many, or the system refuses one.
    void grow(int wanted) {
        pthread_attr_t attributes;
        if (count >= wanted || pthread_attr_init(&attributes)) return;
        pthread_attr_setstacksize(&attributes, STACK);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        sigset_t all, before;  // signals are the caller's business: they must wake its own threads
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        while (count < wanted) {
            Helper* helper = new (std::nothrow) Helper;
            pthread_t thread;
            if (!helper || pthread_create(&thread, &attributes, serve, helper)) {
                delete helper;
                break;
            }
            helpers[count++] = helper;
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        pthread_attr_destroy(&attributes);
    }
};

// Never freed: helpers may wait in it until the process is gone.
std::atomic<Team*> team{new (std::nothrow) Team};

// A forked process has a single thread, and perhaps a mutex that nobody will unlock.
void renew() { team.store(new (std::nothrow) Team); }
const int renewing = pthread_atfork(nullptr, nullptr, renew);

}  // namespace

bool with_team(int wanted, bool (*prepare)(void*, int), Work work, void* argument) {
    Team* const our = team.load();
    if (wanted < 2 || renewing || !our || !our->busy.try_lock()) {
        if (!prepare(argument, 1)) return false;
        work(argument, 0, 1);
        return true;
    }
    std::lock_guard<std::mutex> lock(our->busy, std::adopt_lock);
    our->grow(wanted - 1 < MOST ? wanted - 1 : MOST);
    const int threads = our->count + 1 < wanted ? our->count + 1 : wanted;
    if (!prepare(argument, threads)) return false;
    std::atomic<int> left{threads - 1};
    for (int thread = 1; thread < threads; ++thread) our->helpers[thread - 1]->call(work, argument, thread, threads, &left);
    work(argument, 0, threads);
    for (int turns = 0; left.load(std::memory_order_acquire); ++turns) pause_for(turns);
    return true;
}

void wait(Barrier& barrier) {
    const int phase = __atomic_load_n(&barrier.phase, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&barrier.arrived, 1, __ATOMIC_ACQ_REL) == barrier.threads) {
        __atomic_store_n(&barrier.arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&barrier.phase, phase + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int turns = 0; __atomic_load_n(&barrier.phase, __ATOMIC_ACQUIRE) == phase; ++turns) pause_for(turns);
}
