// The plain C interface that Python calls: chooses the instruction set and hands the work to a team. For any processor.
#include "engine.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

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

// A call: rows are split over threads, or, where there are fewer rows than threads, each step is.
struct Call {
    const Engine& engine;
    Job& job;
};
// The rows, the longest first, dealt out in turn: so threads have about as many symbols. A team has all of them.
static bool deal(Job& job, int threads) {
    Span* const falling = (Span*)malloc(job.rows * 2 * sizeof(Span));
    if (!(job.memory = falling)) return false;
    job.spans = falling + job.rows;
    for (int64_t row = 0, first = 0; row < job.rows; ++row) {
        const int64_t length = job.lengths ? job.lengths[row] : job.steps;
        falling[row] = Span{row, first, length};
        first += length;
    }
    std::stable_sort(falling, falling + job.rows, [](const Span& a, const Span& b) { return a.length > b.length; });
    Span* next = job.spans;
    for (int thread = 0; thread < threads; ++thread)
        for (int64_t k = thread; k < job.rows; k += threads) *next++ = falling[k];
    return true;
}
static bool prepare(void* argument, int threads) {
    const Call& call = *(Call*)argument;
    Job& job = call.job;
    job.barrier = Barrier{threads, 0, 0};
    if (job.kind == READ && !deal(job, job.rows < threads ? 1 : threads)) return false;
    if (job.rows >= threads) return true;
    job.shared = aligned_alloc(64, (call.engine.kernels->shared_bytes(call.engine.net, job) + 127) / 64 * 64);
    return job.shared;
}
static void work(void* argument, int thread, int threads) {
    const Call& call = *(Call*)argument;
    call.engine.kernels->work(call.engine.net, call.job, thread, threads);
}

#ifndef UNROLL_SOURCES
#define UNROLL_SOURCES ""
#endif

extern "C" {

// The digest of the sources that this library was built from (hatch_build.py): others may lay out arrays in another way.
const char* unroll_engine_sources() { return UNROLL_SOURCES; }

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
    job->shared = job->memory = nullptr;
    job->spans = nullptr;
    job->failed = 0;
    Call call{*(const Engine*)engine, *job};
    const bool begun = with_team(job->kind == HEAD && job->rows < threads ? 1 : threads, prepare, work, &call);
    free(job->shared);
    free(job->memory);
    return !begun || job->failed;
}
}
