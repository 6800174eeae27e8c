// What the parts of the training kernels share: the arguments of a layer, and the functions of an instruction set.
#pragma once
#include <cstddef>
#include <cstdint>

// Where threads wait until all have arrived: they spin for a moment, then leave the core to whoever needs it.
struct Barrier {
    int threads, arrived, phase;
};
void wait(Barrier& barrier);

// A layer's window of T steps and B rows with H units, H a multiple of 16. `number` is float or bfloat16, which is named
// by `bfloat16` of the functions below. h[0] and c[0] are the state before the first step.
struct Lstm {
    int64_t T, B, H;
    const void* z;          // (T, B, 4H) number: the input's products with their weights, and the biases
    const float* w;         // (4H, H)
    void* h;                // (T+1, B, H, then 16 spare rows) number
    float* c;               // (T+1, B, H)
    void* gates;            // (T, B, 4H) number
    const void* dy;         // (T, B, H) number
    void* dz;               // (T, B, 4H, then 16 spare rows) number
    float *dh, *dc;         // (B rounded up to 16, H): in, of the state after the last step; out, of the one before the first
    uint32_t* scratch;      // 4H (H + 4B), any content
    Barrier barrier;
};

struct Kernels {
    const char* name;
    int (*supported)();
    // One thread's share; by the type of numbers, float and bfloat16. Null where there is none.
    void (*lstm_forward[2])(Lstm&, int thread);
    void (*lstm_backward[2])(Lstm&, int thread);
    // The loss of a row of V logits, and scale · its gradient. Null where there is none.
    void (*row_loss)(int64_t V, const uint16_t* z, int64_t target, float scale, float* nats, uint16_t* dz);
};

extern "C" {
#if defined(__aarch64__)
extern const Kernels unroll_neon;
#else
extern const Kernels unroll_amx, unroll_avx512bf16, unroll_avx512, unroll_avx2;
#endif
}
