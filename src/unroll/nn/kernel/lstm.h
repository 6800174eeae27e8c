// The recurrence of an LSTM for training: the part of a layer that must go step by step.
//
// Equations (Hochreiter & Schmidhuber 1997, Gers et al. 2000), gates in torch's order i f g o:
//   a_t = z_t + W h_{t-1}      z_t = W_ih x_t + b, one large product done by the caller
//   i, f, o = sigmoid(a)       g = tanh(a)        c_t = f c_{t-1} + i g        h_t = o tanh(c_t)
// Products sum in float32, and the cell stays float32, also where numbers are bfloat16. The input product and the weight
// gradient are one large matrix product over all steps at once, which libraries do well; this file does what they do not.
//
// Each thread owns panels of units: it packs their weights, which stay in its caches, and threads meet once a step. Every
// second step goes through the panels backwards, so that what a cache still holds is read first.
#pragma once
#include "kernels.h"
#include "products.h"

namespace {

// Units j to j + LANES of a row at step t, given the sums over the state before.
template <class E>
INLINE void forward_cells(Lstm& q, int64_t t, int64_t row, int64_t j, const float* a, int64_t gate) {
    typedef typename E::number number;
    const int64_t H = q.H, at = t * q.B + row;
    const number* z = (const number*)q.z + at * 4 * H + j;
    const vf i = sigmoid(load(a) + E::load_from(z)), f = sigmoid(load(a + gate) + E::load_from(z + H));
    const vf g = tanh_of(load(a + 2 * gate) + E::load_from(z + 2 * H)), o = sigmoid(load(a + 3 * gate) + E::load_from(z + 3 * H));
    number* gates = (number*)q.gates + at * 4 * H + j;
    E::store_to(gates, i);
    E::store_to(gates + H, f);
    E::store_to(gates + 2 * H, g);
    E::store_to(gates + 3 * H, o);
    const vf c = fma(f, load(q.c + at * H + j), i * g);
    store(q.c + (at + q.B) * H + j, c);
    E::store_to((number*)q.h + (at + q.B) * H + j, o * tanh_of(c));
}

// The same backwards: from the gradients of h_t, in dh, and of c_t to those of a_t and of c_{t-1}.
template <class E>
INLINE void backward_cells(Lstm& q, int64_t t, int64_t row, int64_t j) {
    typedef typename E::number number;
    const int64_t H = q.H, at = t * q.B + row;
    const number* gates = (const number*)q.gates + at * 4 * H + j;
    const vf i = E::load_from(gates), f = E::load_from(gates + H), g = E::load_from(gates + 2 * H), o = E::load_from(gates + 3 * H);
    const vf tanh_c = tanh_of(load(q.c + (at + q.B) * H + j));
    const vf dh = load(q.dh + row * H + j) + E::load_from((const number*)q.dy + at * H + j);
    const vf dc = fma(dh * o, 1.f - tanh_c * tanh_c, load(q.dc + row * H + j));
    number* dz = (number*)q.dz + at * 4 * H + j;
    E::store_to(dz, dc * g * (i * (1.f - i)));
    E::store_to(dz + H, dc * load(q.c + at * H + j) * (f * (1.f - f)));
    E::store_to(dz + 2 * H, dc * i * (1.f - g * g));
    E::store_to(dz + 3 * H, dh * tanh_c * (o * (1.f - o)));
    store(q.dc + row * H + j, dc * f);
}

// Asks for what the cells will read and write of a panel, so that it arrives while a product is computed: rows lie too far
// apart for the processor to guess.
template <class E>
INLINE void fetch(const Lstm& q, int64_t t, int64_t row, int64_t rows, int64_t j, const void* sums) {
    typedef typename E::number number;
    for (int64_t r = row; r < row + rows; ++r) {
        const int64_t at = t * q.B + r;
        for (int64_t gate = 0; gate < 4; ++gate) {
            const int64_t place = (at * 4 + gate) * q.H + j;
            __builtin_prefetch((const number*)sums + place, 0, 2);
            __builtin_prefetch((const number*)q.gates + place, 1, 2);
        }
        __builtin_prefetch(q.c + at * q.H + j, 0, 2);
        __builtin_prefetch(q.c + (at + q.B) * q.H + j, 1, 2);
    }
}

// What a thread owns: panels of units.
struct Share {
    int64_t from, to;
    Share(const Lstm& q, int64_t units, int thread)
        : from(q.H / units * thread / q.barrier.threads), to(q.H / units * (thread + 1) / q.barrier.threads) {}
    // The n-th panel of a step.
    int64_t panel(int64_t t, int64_t n) const { return t & 1 ? to - 1 - n : from + n; }
    int64_t count() const { return to - from; }
};

template <class E>
void forward_thread(Lstm& q, int thread) {
    typedef typename E::number number;
    const int64_t B = q.B, H = q.H, words = H / E::PER_WORD;
    const Blocks blocks(B);
    const Share own(q, LANES, thread);
    number* const h = (number*)q.h;
    word* const rows = q.scratch + 4 * H * words;  // (2, blocks, words, widest): the state before a step and the one after
    const auto pack = [&](int64_t t, int64_t block, int64_t panel) {
        const int64_t row = blocks.first(block), count = blocks.first(block + 1) - row;
        word* const to = rows + (((t & 1) * blocks.count + block) * words + panel * LANES / E::PER_WORD) * blocks.widest;
        pack_rows<E>(h + (t * B + row) * H + panel * LANES, H, count, to, blocks.widest);
    };
    for (int64_t panel = own.from; panel < own.to; ++panel) {
        for (int64_t gate = 0; gate < 4; ++gate)
            pack_along<E>(q.w + (gate * H + panel * LANES) * H, H, words, q.scratch + (panel * 4 + gate) * words * LANES);
        for (int64_t block = 0; block < blocks.count; ++block) pack(0, block, panel);
    }
    wait(q.barrier);
    alignas(64) float sums[4][ROWS][LANES];
    for (int64_t t = 0; t < q.T; ++t) {
        for (int64_t n = 0; n < own.count(); ++n) {
            const int64_t panel = own.panel(t, n);
            for (int64_t block = 0; block < blocks.count; ++block) {
                const int64_t row = blocks.first(block), count = blocks.first(block + 1) - row;
                fetch<E>(q, t, row, count, panel * LANES, q.z);
                multiply<E>(count, rows + ((t & 1) * blocks.count + block) * words * blocks.widest, blocks.widest, 4,
                            q.scratch + panel * 4 * words * LANES, words, sums[0][0], LANES, ROWS * LANES);
                for (int64_t r = 0; r < count; ++r) forward_cells<E>(q, t, row + r, panel * LANES, sums[0][r], ROWS * LANES);
                pack(t + 1, block, panel);
            }
        }
        wait(q.barrier);
    }
}

template <class E>
void backward_thread(Lstm& q, int thread) {
    typedef typename E::number number;
    const int64_t B = q.B, H = q.H, words = 4 * H / E::PER_WORD;
    const Blocks blocks(B);
    const Share own(q, LANES, thread);
    word* const rows = q.scratch + H * words;  // (2, blocks, words, widest): the gradients of a step, and of the one before
    for (int64_t panel = own.from; panel < own.to; ++panel) pack_down<E>(q.w + panel * LANES, H, words, q.scratch + panel * words * LANES);
    for (int64_t t = q.T - 1; t >= 0; --t) {
        word* const now = rows + (t & 1) * blocks.count * words * blocks.widest;
        for (int64_t block = 0; block < blocks.count; ++block) {
            const int64_t row = blocks.first(block), count = blocks.first(block + 1) - row;
            for (int64_t j = own.from * LANES; j < own.to * LANES; j += LANES) {
                for (int64_t r = 0; r < count; ++r) backward_cells<E>(q, t, row + r, j);
                for (int64_t gate = 0; gate < 4; ++gate)
                    pack_rows<E>((const number*)q.dz + ((t * B + row) * 4 + gate) * H + j, 4 * H, count,
                                 now + (block * words + (gate * H + j) / E::PER_WORD) * blocks.widest, blocks.widest);
            }
        }
        wait(q.barrier);
        for (int64_t n = 0; n < own.count(); n += 2) {
            const int64_t two = own.count() - n < 2 ? 1 : 2, panel = t & 1 ? own.to - n - two : own.from + n;
            for (int64_t block = 0; block < blocks.count; ++block) {
                const int64_t row = blocks.first(block), count = blocks.first(block + 1) - row;
                multiply<E>(count, now + block * words * blocks.widest, blocks.widest, two, q.scratch + panel * words * LANES,
                            words, q.dh + row * H + panel * LANES, H, LANES);
            }
        }
    }
}

}  // namespace
