// The recurrence of an LSTM for training: the part of a layer that must go step by step, in bfloat16 products on AMX.
//
// Equations (Hochreiter & Schmidhuber 1997, Gers et al. 2000), gates in torch's order i f g o:
//   a_t = z_t + W h_{t-1}      z_t = W_ih x_t + b, one large product done by the caller
//   i, f, o = sigmoid(a)       g = tanh(a)        c_t = f c_{t-1} + i g        h_t = o tanh(c_t)
// Products take bfloat16 and sum in float32; the cell stays float32. Everything else (input product, weight gradient)
// is one large matrix product over all steps at once, which libraries do well; this file does what they do not.
#include <atomic>
#include <cstdint>
#include <omp.h>

#include "simd.h"
#ifdef UNROLL_X86

namespace {

using namespace simd;

constexpr int64_t TILE = 512;  // bfloat16 of a tile: 16 rows of 32

struct Barrier {
    std::atomic<int> waiting{0}, round{0};
    int threads;
    void wait() {
        if (threads == 1) return;
        const int now = round.load(std::memory_order_acquire);
        if (waiting.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
            waiting.store(0, std::memory_order_relaxed);
            round.store(now + 1, std::memory_order_release);
            return;
        }
        for (int spins = 0; round.load(std::memory_order_acquire) == now; ++spins) {
            if (spins < 4096) _mm_pause();
            else usleep(0);  // the other core is busy with something else
        }
    }
};

struct alignas(64) TileConfig {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// W (4H, H) as tiles for h W^T: [unit block of 16][k block of 32][gate] of 16 pairs of k by 16 units.
KERNEL void pack_forward(const float* w, int64_t H, uint32_t* out, int64_t from, int64_t to) {
    for (int64_t j = from; j < to; j += 16)
        for (int64_t k = 0; k < H; k += 32)
            for (int64_t gate = 0; gate < 4; ++gate) {
                uint32_t* tile = out + (((j / 16) * (H / 32) + k / 32) * 4 + gate) * (TILE / 2);
                alignas(64) uint32_t row[16];
                for (int64_t n = 0; n < 16; ++n) {
                    const float* p = w + (gate * H + j + n) * H + k;
                    _mm512_store_si512(row, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(p + 16), _mm512_loadu_ps(p)));
                    for (int64_t pair = 0; pair < 16; ++pair) tile[pair * 16 + n] = row[pair];
                }
            }
}

// W (4H, H) as tiles for da W: [column block of 16][k block of 32] of 16 pairs of rows by 16 columns.
KERNEL void pack_backward(const float* w, int64_t H, uint32_t* out, int64_t from, int64_t to) {
    for (int64_t j = from; j < to; j += 16)
        for (int64_t k = 0; k < 4 * H; k += 32) {
            uint32_t* tile = out + ((j / 16) * (4 * H / 32) + k / 32) * (TILE / 2);
            for (int64_t pair = 0; pair < 16; ++pair) {
                const float* p = w + (k + 2 * pair) * H + j;
                const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(p)));
                const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(p + H)));
                _mm512_storeu_si512(tile + pair * 16, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
            }
        }
}

struct Work {
    int64_t T, B, H;
    const uint16_t* z; const float* c0; const float* w;
    uint16_t* h; float* c; uint16_t* gates; uint32_t* packed;
    const uint16_t* dy; const float* dh_end; const float* dc_end; uint16_t* dz; float* dh; float* dc;
    Barrier barrier;
};

INLINE void forward_cells(Work& q, int64_t t, int64_t row, int64_t j, const float* a, int64_t stride) {
    const int64_t H = q.H, at = t * q.B + row;
    const uint16_t* z = q.z + at * 4 * H + j;
    const __m512 i = sigmoid(_mm512_add_ps(_mm512_load_ps(a), load_bf16(z)));
    const __m512 f = sigmoid(_mm512_add_ps(_mm512_load_ps(a + stride), load_bf16(z + H)));
    const __m512 g = tanh_ps(_mm512_add_ps(_mm512_load_ps(a + 2 * stride), load_bf16(z + 2 * H)));
    const __m512 o = sigmoid(_mm512_add_ps(_mm512_load_ps(a + 3 * stride), load_bf16(z + 3 * H)));
    uint16_t* gates = q.gates + at * 4 * H + j;
    store_bf16(gates, i);
    store_bf16(gates + H, f);
    store_bf16(gates + 2 * H, g);
    store_bf16(gates + 3 * H, o);
    const __m512 c = _mm512_fmadd_ps(f, _mm512_loadu_ps(q.c + at * H + j), _mm512_mul_ps(i, g));
    _mm512_storeu_ps(q.c + (at + q.B) * H + j, c);
    store_bf16(q.h + (at + q.B) * H + j, _mm512_mul_ps(o, tanh_ps(c)));
}

KERNEL void forward_thread(Work& q, int thread) {
    const int64_t T = q.T, B = q.B, H = q.H, K = H / 32, n = q.barrier.threads;
    const int64_t from = H / 16 * thread / n * 16, to = H / 16 * (thread + 1) / n * 16;
    TileConfig config;
    _tile_loadconfig(&config);
    pack_forward(q.w, H, q.packed, from, to);
    alignas(64) float a[8][256];
    for (int64_t t = 0; t < T; ++t) {
        const uint16_t* h = q.h + t * B * H;
        for (int64_t j = from; j < to; j += 16) {
            const uint32_t* w = q.packed + (j / 16) * K * 4 * (TILE / 2);
            int64_t row = 0;
            for (; row + 16 < B; row += 32) {
                for (int64_t two = 0; two < 4; two += 2) {
                    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
                    for (int64_t k = 0; k < K; ++k) {
                        _tile_loadd(4, h + row * H + k * 32, H * 2);
                        _tile_loadd(5, h + (row + 16) * H + k * 32, H * 2);
                        _tile_loadd(6, w + (k * 4 + two) * (TILE / 2), 64);
                        _tile_loadd(7, w + (k * 4 + two + 1) * (TILE / 2), 64);
                        _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
                    }
                    _tile_stored(0, a[two], 64); _tile_stored(1, a[two + 1], 64);
                    _tile_stored(2, a[4 + two], 64); _tile_stored(3, a[5 + two], 64);
                }
                for (int64_t r = 0; r < 16; ++r) forward_cells(q, t, row + r, j, a[0] + r * 16, 256);
                for (int64_t r = 0; r < 16 && row + 16 + r < B; ++r) forward_cells(q, t, row + 16 + r, j, a[4] + r * 16, 256);
            }
            if (row < B) {
                _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
                for (int64_t k = 0; k < K; ++k) {
                    _tile_loadd(4, h + row * H + k * 32, H * 2);
                    const uint32_t* tile = w + k * 4 * (TILE / 2);
                    _tile_loadd(5, tile, 64); _tile_dpbf16ps(0, 4, 5);
                    _tile_loadd(6, tile + TILE / 2, 64); _tile_dpbf16ps(1, 4, 6);
                    _tile_loadd(7, tile + TILE, 64); _tile_dpbf16ps(2, 4, 7);
                    _tile_loadd(5, tile + 3 * (TILE / 2), 64); _tile_dpbf16ps(3, 4, 5);
                }
                _tile_stored(0, a[0], 64); _tile_stored(1, a[1], 64); _tile_stored(2, a[2], 64); _tile_stored(3, a[3], 64);
                for (int64_t r = 0; r < 16 && row + r < B; ++r) forward_cells(q, t, row + r, j, a[0] + r * 16, 256);
            }
        }
        q.barrier.wait();
    }
    _tile_release();
}

INLINE void backward_cells(Work& q, int64_t t, int64_t row, int64_t j) {
    const int64_t H = q.H, at = t * q.B + row;
    const uint16_t* gates = q.gates + at * 4 * H + j;
    const __m512 i = load_bf16(gates), f = load_bf16(gates + H), g = load_bf16(gates + 2 * H), o = load_bf16(gates + 3 * H);
    const __m512 one = _mm512_set1_ps(1.f), tanh_c = tanh_ps(_mm512_loadu_ps(q.c + (at + q.B) * H + j));
    const __m512 dh = _mm512_add_ps(_mm512_loadu_ps(q.dh + row * H + j), load_bf16(q.dy + at * H + j));
    __m512 dc = _mm512_loadu_ps(q.dc + row * H + j);
    dc = _mm512_fmadd_ps(_mm512_mul_ps(dh, o), _mm512_fnmadd_ps(tanh_c, tanh_c, one), dc);
    uint16_t* dz = q.dz + at * 4 * H + j;
    const __m512 di = _mm512_mul_ps(_mm512_mul_ps(dc, g), _mm512_mul_ps(i, _mm512_sub_ps(one, i)));
    const __m512 before = _mm512_loadu_ps(q.c + at * H + j);
    const __m512 df = _mm512_mul_ps(_mm512_mul_ps(dc, before), _mm512_mul_ps(f, _mm512_sub_ps(one, f)));
    const __m512 dg = _mm512_mul_ps(_mm512_mul_ps(dc, i), _mm512_fnmadd_ps(g, g, one));
    const __m512 d_o = _mm512_mul_ps(_mm512_mul_ps(dh, tanh_c), _mm512_mul_ps(o, _mm512_sub_ps(one, o)));
    store_bf16(dz, di);
    store_bf16(dz + H, df);
    store_bf16(dz + 2 * H, dg);
    store_bf16(dz + 3 * H, d_o);
    _mm512_storeu_ps(q.dc + row * H + j, _mm512_mul_ps(dc, f));
}

KERNEL void backward_thread(Work& q, int thread) {
    const int64_t T = q.T, B = q.B, H = q.H, K = 4 * H / 32, n = q.barrier.threads;
    const int64_t from = H / 16 * thread / n * 16, to = H / 16 * (thread + 1) / n * 16;
    TileConfig config;
    _tile_loadconfig(&config);
    pack_backward(q.w, H, q.packed, from, to);
    const int64_t column = K * (TILE / 2);
    for (int64_t t = T - 1; t >= 0; --t) {
        for (int64_t row = 0; row < B; ++row)
            for (int64_t j = from; j < to; j += 16) backward_cells(q, t, row, j);
        q.barrier.wait();
        const uint16_t* dz = q.dz + t * B * 4 * H;
        for (int64_t j = from; j < to;) {
            const uint32_t* w = q.packed + (j / 16) * column;
            const int64_t wide = (to - j) / 16 >= 4 ? 4 : (to - j) / 16 >= 2 ? 2 : 1;
            int64_t row = 0;
            if (wide >= 2) {
                for (; row + 16 < B; row += 32)
                    for (int64_t two = 0; two < wide; two += 2) {
                        _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
                        const uint32_t* v = w + two * column;
                        for (int64_t k = 0; k < K; ++k) {
                            _tile_loadd(4, dz + row * 4 * H + k * 32, H * 8);
                            _tile_loadd(5, dz + (row + 16) * 4 * H + k * 32, H * 8);
                            _tile_loadd(6, v + k * (TILE / 2), 64);
                            _tile_loadd(7, v + column + k * (TILE / 2), 64);
                            _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
                        }
                        float* out = q.dh + row * H + j + two * 16;
                        _tile_stored(0, out, H * 4); _tile_stored(1, out + 16, H * 4);
                        _tile_stored(2, out + 16 * H, H * 4); _tile_stored(3, out + 16 * H + 16, H * 4);
                    }
            }
            for (; row < B; row += 16) {
                float* out = q.dh + row * H + j;
                const uint16_t* left = dz + row * 4 * H;
                if (wide == 4) {
                    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
                    for (int64_t k = 0; k < K; ++k) {
                        _tile_loadd(4, left + k * 32, H * 8);
                        _tile_loadd(5, w + k * (TILE / 2), 64); _tile_dpbf16ps(0, 4, 5);
                        _tile_loadd(6, w + column + k * (TILE / 2), 64); _tile_dpbf16ps(1, 4, 6);
                        _tile_loadd(7, w + 2 * column + k * (TILE / 2), 64); _tile_dpbf16ps(2, 4, 7);
                        _tile_loadd(5, w + 3 * column + k * (TILE / 2), 64); _tile_dpbf16ps(3, 4, 5);
                    }
                    _tile_stored(0, out, H * 4); _tile_stored(1, out + 16, H * 4);
                    _tile_stored(2, out + 32, H * 4); _tile_stored(3, out + 48, H * 4);
                } else {
                    for (int64_t one = 0; one < wide; ++one) {
                        _tile_zero(0);
                        for (int64_t k = 0; k < K; ++k) {
                            _tile_loadd(4, left + k * 32, H * 8);
                            _tile_loadd(5, w + one * column + k * (TILE / 2), 64);
                            _tile_dpbf16ps(0, 4, 5);
                        }
                        _tile_stored(0, out + one * 16, H * 4);
                    }
                }
            }
            j += wide * 16;
        }
    }
    _tile_release();
}

}  // namespace

// z, gates (T, B, 4H) and h (T+1, B, H, then 16 spare rows) bfloat16; c (T+1, B, H) and w (4H, H) float32.
// h[0] and c[0] are the state before the first step. packed: 4H*H bfloat16, any content.
extern "C" void unroll_lstm_forward(int64_t T, int64_t B, int64_t H, const uint16_t* z, const float* w, uint16_t* h, float* c,
                                    uint16_t* gates, uint32_t* packed, int threads) {
    Work q{};
    q.T = T; q.B = B; q.H = H; q.z = z; q.w = w; q.h = h; q.c = c; q.gates = gates; q.packed = packed;
#pragma omp parallel num_threads(threads)
    {
        // As many as were really given: they wait for each other at every step.
#pragma omp single
        q.barrier.threads = omp_get_num_threads();
        forward_thread(q, omp_get_thread_num());
    }
}

// dy (T, B, H) bfloat16; dz (T, B, 4H, then 16 spare rows) bfloat16; dh, dc (B rounded up to 16, H) float32:
// in, of the state after the last step; out, of the state before the first.
extern "C" void unroll_lstm_backward(int64_t T, int64_t B, int64_t H, const float* w, const float* c, const uint16_t* gates,
                                     const uint16_t* dy, uint16_t* dz, float* dh, float* dc, uint32_t* packed, int threads) {
    Work q{};
    q.T = T; q.B = B; q.H = H; q.w = w; q.c = const_cast<float*>(c); q.gates = const_cast<uint16_t*>(gates);
    q.dy = dy; q.dz = dz; q.dh = dh; q.dc = dc; q.packed = packed;
#pragma omp parallel num_threads(threads)
    {
        // As many as were really given: they wait for each other at every step.
#pragma omp single
        q.barrier.threads = omp_get_num_threads();
        backward_thread(q, omp_get_thread_num());
    }
}

#endif
