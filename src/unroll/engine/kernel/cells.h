// The cells: the equation of each, and which sums a panel of its weights adds up. All that the engine knows of one is here.
#pragma once
#include "weights.h"

enum Arch : int64_t { LSTM, GRU, MINGRU, RNN, WINDOW };  // in the order of unroll/nn/arch.py

namespace {

// Each cell's equation (unroll/nn/cells.py), from the four accumulators of a panel; `h` is the state before, `out` after.
struct LstmCell {
    typedef Four Input; typedef Four State;
    static constexpr int gates = 4, vectors = 1;
    INLINE void finish(const vf* a, const float*, float* c, float* out) {
        const vf c_after = fma(sigmoid(a[1]), load(c), sigmoid(a[0]) * tanh_of(a[2]));  // c = f c₋₁ + i g
        store(c, c_after);
        store(out, sigmoid(a[3]) * tanh_of(c_after));  // h = o tanh c
    }
};
struct GruCell {
    typedef GruInput Input; typedef GruState State;
    static constexpr int gates = 3, vectors = 1;
    INLINE void finish(const vf* a, const float* h, float*, float* out) {
        const vf z = sigmoid(a[1]), n = tanh_of(fma(sigmoid(a[0]), a[3], a[2]));  // n = tanh(W x + b + r (U h + b'))
        store(out, fma(z, load(h), (1.f - z) * n));                               // h = (1 - z) n + z h₋₁
    }
};
// a[0] is z and a[1] is n, both of the input alone; the other two accumulators lie idle.
struct MinGruInput { static constexpr int width = 2; static constexpr int at[4] = {0, 1, 1, 1}; };
struct Nothing { static constexpr int width = 0; };
struct MinGruCell {
    typedef MinGruInput Input; typedef Nothing State;
    static constexpr int gates = 2, vectors = 1;
    INLINE void finish(const vf* a, const float* h, float*, float* out) {
        const vf z = sigmoid(a[0]);
        store(out, fma(z, a[1], (1.f - z) * load(h)));  // h = (1 - z) h₋₁ + z n
    }
};
struct RnnCell {
    typedef Four Input; typedef Four State;
    static constexpr int gates = 0, vectors = 4;
    INLINE void finish(const vf* a, const float*, float*, float* out) {
        UNROLLED for (int j = 0; j < 4; ++j) store(out + j * LANES, tanh_of(a[j]));
    }
};

// Calls `f` with the cell of a recurrent architecture.
template <class F>
INLINE auto with_cell(int64_t arch, F&& f) {
    switch (arch) {
        case LSTM: return f(LstmCell{});
        case GRU: return f(GruCell{});
        case MINGRU: return f(MinGruCell{});
        default: return f(RnnCell{});
    }
}

}  // namespace
