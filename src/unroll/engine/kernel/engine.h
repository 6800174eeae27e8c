// What the parts of the engine share: the shape of a network, a piece of work, and the functions of one instruction set.
#pragma once
#include <cstddef>
#include <cstdint>

#include "team.h"

enum Skip : int64_t { NONE = 0, RESIDUAL = 1, SUM = 2 };

struct Shape {
    int64_t arch, vocab, embedding, hidden, layers, window, after, skip;
    int64_t head;    // inputs of the output layer: hidden, or embedding behind a projection
    int64_t table;   // 1: the first weights are (V, G·H), what the first layer makes of each symbol, its biases included
    int64_t int8;    // 1: products in eight bits
};

// Pointers to all weights, float32, as torch lays them out: table (V, G·H) or embedding (V, E), or null: then vectors are read;
// for each layer the input weights (null with a table), recurrent weights, two biases (a window's layers: weights, bias); for each
// layer after: weights, bias; the projection or null; output weights, bias, or nulls: then there are only READ jobs.
typedef const float* const* Weights;

enum Kind : int64_t { READ = 0, HEAD = 1, GENERATE = 2 };

// A row to be read: its number, where its symbols are among those of all rows, and how many.
struct Span {
    int64_t row, first, length;
};

struct Job {
    int64_t kind, rows, steps;
    const int64_t* lengths;  // READ: the symbols of each row (B,), N in all, a row after the other; or null: T each, N = B·T
    int64_t backwards;       // READ: 1: each row from its end on
    const int64_t* ids;      // READ: (N,), or null: then
    const float* vectors;    // (N, E) are read instead, by a network without a table
    float* const* state;     // (B, H) for every layer's h, or h and c; a window's (B, n-1, E). In and out, or null: from zero
    float* y;                // READ: the output at each symbol (N, H), out, or null. HEAD: (B, H), in
    float* last;             // READ: each row's last output (B, H), zero of an empty row; out, or null
    int64_t apart;           // READ: floats from one output to the next, in y and in last
    float* logits;           // HEAD: (B, V), out, or null. GENERATE: (B, V), in and out
    const int64_t* targets;  // HEAD: the ids (B,) whose nats are asked for, or null
    double* nats;            // HEAD: (B,); GENERATE: (B, T); out
    const double *temperature, *top_p, *min_p, *uniforms;  // GENERATE: (B,) and (B, T)
    const int64_t* top_k;
    int64_t never;           // a symbol that is never drawn, or -1
    int64_t* drawn;          // GENERATE: (B, T), out
    const int* halt;         // GENERATE, or null: anything but 0 ends it after the current step, where all rows step together
    int64_t done;            // GENERATE: the steps taken, out
    Span* spans;             // READ: (B,), dealt out to the threads: each has its longest first
    Barrier barrier;
    void* shared;            // what a team works on together
    void* memory;            // of the spans
    int failed;              // set where memory is out
};

// Draws a symbol as unroll/engine/draw.py does (the reference); `work` holds V doubles and V int64.
int64_t draw(const float* logits, int64_t vocab, double temperature, int64_t top_k, double top_p, double min_p, int64_t never,
             double uniform, double* nats, double* work);

// The rows of a thread: from this one to before the next thread's.
static inline int64_t first_row(int64_t rows, int thread, int threads) {
    const int64_t more = rows % threads;
    return rows / threads * thread + (thread < more ? thread : more);
}

struct Kernels {
    const char* name;
    int (*supported)();
    void* (*make)(const Shape&, Weights);  // null where memory is out
    void (*free)(void*);
    void (*work)(const void*, Job&, int thread, int threads);  // one thread's share
    int64_t (*shared_bytes)(const void*, const Job&);
};

extern "C" {
#if defined(__aarch64__)
extern const Kernels unroll_neon;
#else
extern const Kernels unroll_plain, unroll_avx2, unroll_avx512, unroll_vnni;
#endif
}
