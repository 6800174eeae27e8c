// The plain C interface that Python calls: chooses the instruction set and starts the threads. For any processor.
#include <omp.h>
#include <sched.h>

#include "kernels.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static const Kernels* const ALL[] = {
#if defined(__aarch64__)
    &unroll_neon};
#else
    &unroll_amx, &unroll_avx512bf16, &unroll_avx512, &unroll_avx2};
#endif
constexpr int COUNT = sizeof ALL / sizeof *ALL;

void wait(Barrier& barrier) {
    const int phase = __atomic_load_n(&barrier.phase, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&barrier.arrived, 1, __ATOMIC_ACQ_REL) == barrier.threads) {
        __atomic_store_n(&barrier.arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&barrier.phase, phase + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int turns = 0; __atomic_load_n(&barrier.phase, __ATOMIC_ACQUIRE) == phase; ++turns) {
#if defined(__x86_64__)
        _mm_pause();
#endif
        if (turns > 4096) sched_yield();  // the other core is busy with something else
    }
}

static void run(void (*work)(Lstm&, int), Lstm& q, int threads) {
#pragma omp parallel num_threads(threads)
    {
        // As many as were really given: they wait for each other at every step.
#pragma omp single
        q.barrier = Barrier{omp_get_num_threads(), 0, 0};
        work(q, omp_get_thread_num());
    }
}

#ifndef UNROLL_SOURCES
#define UNROLL_SOURCES ""
#endif

extern "C" {

// The digest of the sources that this library was built from (hatch_build.py): others may take other arguments.
const char* unroll_kernel_sources() { return UNROLL_SOURCES; }

// The instruction sets, best first, by number: its name, or null where this machine does not run it, or "" after the last.
const char* unroll_kernel_name(int kernel) { return kernel >= COUNT ? "" : ALL[kernel]->supported() ? ALL[kernel]->name : nullptr; }

// Whether it has an LSTM of that type of numbers.
int unroll_kernel_has(int kernel, int bfloat16) { return ALL[kernel]->lstm_forward[bfloat16] != nullptr; }

// kernels.h has the shapes.
void unroll_lstm_forward(int kernel, int bfloat16, int64_t T, int64_t B, int64_t H, const void* z, const float* w, void* h, float* c,
                         void* gates, uint32_t* scratch, int threads) {
    Lstm q{};
    q.T = T, q.B = B, q.H = H, q.z = z, q.w = w, q.h = h, q.c = c, q.gates = gates, q.scratch = scratch;
    run(ALL[kernel]->lstm_forward[bfloat16], q, threads);
}
void unroll_lstm_backward(int kernel, int bfloat16, int64_t T, int64_t B, int64_t H, const float* w, float* c, void* gates,
                          const void* dy, void* dz, float* dh, float* dc, uint32_t* scratch, int threads) {
    Lstm q{};
    q.T = T, q.B = B, q.H = H, q.w = w, q.c = c, q.gates = gates, q.dy = dy, q.dz = dz, q.dh = dh, q.dc = dc, q.scratch = scratch;
    run(ALL[kernel]->lstm_backward[bfloat16], q, threads);
}

// z, dz (rows, V) bfloat16; targets (rows) below V; nats (rows) float32; dz is the gradient of scale * sum of nats.
void unroll_cross_entropy(int kernel, int64_t rows, int64_t V, const uint16_t* z, const int64_t* targets, float scale, float* nats,
                          uint16_t* dz, int threads) {
    const auto row_loss = ALL[kernel]->row_loss;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; ++row) row_loss(V, z + row * V, targets[row], scale, nats + row, dz + row * V);
}
}
