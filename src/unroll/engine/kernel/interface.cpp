// The plain C interface that Python calls: chooses the instruction set, splits the work, draws symbols. For any processor.
#include "engine.h"
#include "team.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

void wait(Barrier& barrier) {
    const int phase = __atomic_load_n(&barrier.phase, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&barrier.arrived, 1, __ATOMIC_ACQ_REL) == barrier.threads) {
        __atomic_store_n(&barrier.arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&barrier.phase, phase + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int turns = 0; __atomic_load_n(&barrier.phase, __ATOMIC_ACQUIRE) == phase; ++turns) pause_for(turns);
}

// e^x in double: 2^n e^r with a Taylor polynomial of degree 13 on |r| <= ln 2 / 2, exact to about one unit in the last place.
static inline double exp_of(double x) {
    if (!(x >= -708)) return std::exp(x);
    const double n = std::nearbyint(x * 1.4426950408889634074);
    const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    const int64_t bits = ((int64_t)n + 1023) << 52;
    double scale;
    std::memcpy(&scale, &bits, 8);
    return p * scale;
}

int64_t draw(const float* logits, int64_t vocab, double temperature, int64_t top_k, double top_p, double min_p, int64_t never,
             double uniform, double* nats, double* p) {
    double top = logits[0];
    for (int64_t k = 1; k < vocab; ++k) top = logits[k] > top ? logits[k] : top;
    double total = 0;
    for (int64_t k = 0; k < vocab; ++k) total += p[k] = exp_of(logits[k] - top);
    const double log_total = std::log(total);
    int64_t best = never == 0 && vocab > 1 ? 1 : 0;
    for (int64_t k = best + 1; k < vocab; ++k)
        if (k != never && logits[k] > logits[best]) best = k;
    int64_t chosen = best;
    if (temperature > 0) {
        const double peak = logits[best], sharp = temperature > 1e-100 ? temperature : 1e-100;
        double mass = 0;
        if (temperature == 1 && peak == top) {
            if (never >= 0) p[never] = 0;
            for (int64_t k = 0; k < vocab; ++k) mass += p[k];
        } else
            for (int64_t k = 0; k < vocab; ++k) mass += p[k] = k == never ? 0 : exp_of((logits[k] - peak) / sharp);
        for (int64_t k = 0; k < vocab; ++k) p[k] /= mass;
        int64_t* order = (int64_t*)(p + vocab);
        const bool some = (top_k > 0 && top_k < vocab) || top_p < 1;
        const double least = min_p > 0 ? min_p * p[best] : 0;
        if (some) {
            for (int64_t k = 0; k < vocab; ++k) order[k] = k;
            const auto later = [p](int64_t a, int64_t b) { return p[a] != p[b] ? p[a] < p[b] : a > b; };
            std::make_heap(order, order + vocab, later);
            // The most probable first, of equals the lower id, until a filter closes; the others are struck out.
            double sum = 0;
            int64_t left = vocab;
            for (int64_t kept = 0; left > 0; ++kept) {
                const double next = p[order[0]];
                sum += next;
                if ((top_k > 0 && kept >= top_k) || (top_p < 1 && sum - next >= top_p)) break;
                std::pop_heap(order, order + left--, later);
            }
            for (int64_t k = 0; k < left; ++k) p[order[k]] = 0;
        }
        double sum = 0;
        for (int64_t k = 0; k < vocab; ++k) {
            if (p[k] < least) p[k] = 0;
            sum += p[k];
        }
        const double wanted = uniform * sum;
        double reached = 0;
        int64_t last = best;
        chosen = -1;
        for (int64_t k = 0; k < vocab; ++k) {
            reached += p[k];
            if (p[k] > 0) last = k;
            if (reached > wanted) { chosen = k; break; }
        }
        if (chosen < 0) chosen = last;
    }
    *nats = top + log_total - logits[chosen];
    return chosen;
}

static const Kernels* const ALL[] = {
#if defined(__aarch64__)
    &unroll_neon};
#else
    &unroll_vnni, &unroll_avx512, &unroll_avx2, &unroll_plain};
#endif

struct Engine {
    const Kernels* kernels;
    void* net;
};

// A call: rows are split over threads, or, where they are fewer, each step is.
struct Call {
    const Engine& engine;
    Job& job;
};
static bool prepare(void* argument, int threads) {
    const Call& call = *(Call*)argument;
    Job& job = call.job;
    job.barrier = Barrier{threads, 0, 0};
    if (job.rows >= threads) return true;
    job.shared = aligned_alloc(64, (call.engine.kernels->shared_bytes(call.engine.net, job) + 127) / 64 * 64);
    return job.shared;
}
static void work(void* argument, int thread, int threads) {
    const Call& call = *(Call*)argument;
    call.engine.kernels->work(call.engine.net, call.job, thread, threads);
}

extern "C" {

// The instruction sets that this machine can run, best first, by number; null after the last.
const char* unroll_engine_name(int number) {
    for (const Kernels* kernels : ALL)
        if (kernels->supported() && number-- == 0) return kernels->name;
    return nullptr;
}

// Null where memory is out. `name` is an instruction set, or null for the best.
void* unroll_engine_new(const char* name, const Shape* shape, Weights weights) {
    for (const Kernels* kernels : ALL) {
        if (!kernels->supported() || (name && std::strcmp(name, kernels->name))) continue;
        void* net = kernels->make(*shape, weights);
        Engine* engine = net ? new (std::nothrow) Engine{kernels, net} : nullptr;
        if (net && !engine) kernels->free(net);
        return engine;
    }
    return nullptr;
}

void unroll_engine_free(void* engine) {
    if (!engine) return;
    ((Engine*)engine)->kernels->free(((Engine*)engine)->net);
    delete (Engine*)engine;
}

// Zero, or 1 where memory is out. `threads` is how many may work, which changes no result.
int unroll_engine_work(const void* engine, Job* job, int threads) {
    job->done = job->steps;
    if (job->rows < 1) return 0;
    job->shared = nullptr;
    job->failed = 0;
    Call call{*(const Engine*)engine, *job};
    const bool begun = with_team(job->kind == HEAD && job->rows < threads ? 1 : threads, prepare, work, &call);
    free(job->shared);
    return !begun || job->failed;
}
}
