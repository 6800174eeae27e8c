// Weights, laid out as they are read: panels of units, in a panel input by input; and products with them.
#pragma once
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

#include "vectors.h"

namespace {

// A panel is what a core sums at once: four accumulators a of LANES numbers. Its weights follow each other in memory input by
// input, so that a step reads straight on: for each input x it adds x times a vector of weights to each accumulator. An LSTM's
// panel has LANES units u₀ u₁ …, and an accumulator for each gate:
//
//      a[0]   i of u₀, i of u₁, …         weights of the first input:   i of u₀ u₁ …, f of u₀ u₁ …, g of u₀ u₁ …, o of u₀ u₁ …
//      a[1]   f of u₀, f of u₁, …                    of the second:     the same four vectors, and so on to the last input;
//      a[2]   g of u₀, g of u₁, …                                       then the next panel, of the next LANES units.
//      a[3]   o of u₀, o of u₁, …
//
// What the four are, and where a Map lets a product add (torch's rows lie gate by gate, see Layout):
//
//                     a[0]    a[1]    a[2]                    a[3]                       Map of the input, of the state
//      LSTM           i       f       g                       o                          Four, Four
//      GRU            r       z       n, what x adds to it    n, what h adds to it       GruInput: r z n, GruState: r z · n
//      RNN, linear    LANES units each: 4 · LANES units, or outputs, in their order      Four, Four
//
// The accumulators start at the biases, (panels, 4, LANES), or at a symbol's row of the table.
struct Four { static constexpr int width = 4; static constexpr int at[4] = {0, 1, 2, 3}; };
struct GruInput { static constexpr int width = 3; static constexpr int at[4] = {0, 1, 2, 2}; };
struct GruState { static constexpr int width = 3; static constexpr int at[4] = {0, 1, 3, 3}; };
constexpr int Four::at[4], GruInput::at[4], GruState::at[4];

// Weights are float32; or have eight bits and a scale for each unit; or, in networks that are larger than a core's cache, 24 bits
// and a scale: a step then waits for three bytes a weight instead of four. Those are whole numbers below 2^23, so what is lost
// is 2^-24 of a unit's largest weight: no more than float32 may lose of that one, and less than it loses in a sum.
struct Packed {
    int64_t inputs = 0, panels = 0;
    int64_t first = 0;         // the panel that the array begins with
    int width = 4;
    float* f = nullptr;        // (panels, inputs, width, LANES)
    int8_t* q = nullptr;       // (panels, inputs / GROUP, width, LANES, GROUP)
    uint8_t* three = nullptr;  // (panels, inputs, width, LANES, 3)
    float* scales = nullptr;   // (panels, width, LANES): factors of the sums with q, with three, or with f unpacked from it
    int32_t* sums = nullptr;   // 128 times the sum of a unit's weights, where inputs are unsigned
};
enum Bytes { ONE = 1, THREE = 3, FOUR = 4 };  // a weight
constexpr int64_t CACHE = 6 << 20;  // bytes of weights: about what the own caches of a few cores hold

// Large arrays in large pages, where the system has them: a step reads all weights, and looking up small pages takes its time.
void* allocate(int64_t bytes) {
    constexpr int64_t PAGE = 2 << 20;
    if (bytes < PAGE) return aligned_alloc(64, up(bytes ? bytes : 1, 64));
    void* memory = aligned_alloc(PAGE, up(bytes, PAGE));
#if defined(MADV_HUGEPAGE)
    if (memory) madvise(memory, up(bytes, PAGE), MADV_HUGEPAGE);
#endif
    return memory;
}

// Which of torch's rows an accumulator's lane sums: with gates, a panel has LANES units of each; without, 4 · LANES units.
struct Layout {
    int64_t units;  // H, or the number of outputs
    int gates;      // 0: no gates
    int64_t panels() const { return gates ? up(units, LANES) / LANES : up(units, 4 * LANES) / (4 * LANES); }
    int width() const { return gates ? gates : 4; }
    int64_t row(int64_t panel, int j, int lane) const {  // -1: there is none
        const int64_t unit = gates ? panel * LANES + lane : (panel * 4 + j) * LANES + lane;
        return unit >= units ? -1 : gates ? j * units + unit : unit;
    }
};

INLINE float largest(const float* w, int64_t n) {
    float top = 0;
    for (int64_t k = 0; k < n; ++k) {
        const float a = w[k] < 0 ? -w[k] : w[k];
        top = a > top ? a : top;
    }
    return top;
}

bool pack(Packed& out, const float* w, int64_t inputs, Layout layout, Bytes bytes) {
    const int64_t panels = layout.panels();
    const int width = layout.width();
    out.panels = panels, out.width = width, out.inputs = bytes == ONE ? up(inputs, GROUP) : inputs;
    const int64_t size = panels * width * LANES;
    if (bytes == THREE) {
        constexpr double MOST = 8388606;  // so that 2^23 is not reached where the scale was rounded down
        out.three = (uint8_t*)allocate(size * inputs * 3 + 64);  // vectors are read whole
        out.scales = (float*)allocate(size * 4);
        if (!out.three || !out.scales) return false;
        for (int64_t p = 0; p < panels; ++p)
            for (int j = 0; j < width; ++j)
                for (int lane = 0; lane < LANES; ++lane) {
                    const int64_t row = layout.row(p, j, lane);
                    float scale = row < 0 ? 0.f : (float)(largest(w + row * inputs, inputs) / MOST / 256);
                    if (scale < 1.17549435e-38f) scale = 0;  // less is not exact enough to divide by
                    out.scales[(p * width + j) * LANES + lane] = scale;
                    for (int64_t k = 0; k < inputs; ++k) {
                        const double scaled = scale > 0 ? w[row * inputs + k] / (256.0 * scale) : 0;
                        const int32_t value = (int32_t)(scaled < 0 ? scaled - .5 : scaled + .5);
                        uint8_t* at = out.three + (((p * inputs + k) * width + j) * LANES + lane) * 3;
                        at[0] = (uint8_t)value, at[1] = (uint8_t)(value >> 8), at[2] = (uint8_t)(value >> 16);
                    }
                }
        return true;
    }
    if (bytes == FOUR) {
        if (!(out.f = (float*)allocate(size * inputs * 4))) return false;
        for (int64_t p = 0; p < panels; ++p)
            for (int j = 0; j < width; ++j)
                for (int lane = 0; lane < LANES; ++lane) {
                    const int64_t row = layout.row(p, j, lane);
                    for (int64_t k = 0; k < inputs; ++k)
                        out.f[((p * inputs + k) * width + j) * LANES + lane] = row < 0 ? 0.f : w[row * inputs + k];
                }
        return true;
    }
    out.q = (int8_t*)allocate(size * out.inputs);
    out.scales = (float*)allocate(size * 4);
    out.sums = (int32_t*)allocate(size * 4);
    if (!out.q || !out.scales || !out.sums) return false;
    for (int64_t p = 0; p < panels; ++p)
        for (int j = 0; j < width; ++j)
            for (int lane = 0; lane < LANES; ++lane) {
                const int64_t row = layout.row(p, j, lane), unit = (p * width + j) * LANES + lane;
                const float top = row < 0 ? 0.f : largest(w + row * inputs, inputs);
                int32_t sum = 0;
                for (int64_t k = 0; k < out.inputs; ++k) {
                    const float scaled = row < 0 || k >= inputs || top == 0 ? 0.f : w[row * inputs + k] / top * 127.f;
                    const int32_t value = (int32_t)(scaled < 0 ? scaled - .5f : scaled + .5f);
                    const int64_t vector = (p * (out.inputs / GROUP) + k / GROUP) * width + j;
                    out.q[(vector * LANES + lane) * GROUP + k % GROUP] = (int8_t)value;
                    sum += value;
                }
                out.scales[unit] = top / 127.f;
                out.sums[unit] = 128 * sum;
            }
    return true;
}

void drop(Packed& p) { free(p.f); free(p.q); free(p.three); free(p.scales); free(p.sums); }

// LANES weights of three bytes, times 256.
INLINE vf widened(const uint8_t* w) {
#if LANES == 16
    const __m512i words = _mm512_setr_epi32(0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 11, 12);
    const __m512i four = _mm512_permutexvar_epi32(words, _mm512_loadu_si512(w));
    const __m512i apart = _mm512_broadcast_i32x4(_mm_setr_epi8(-1, 0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11));
    return (vf)_mm512_cvtepi32_ps(_mm512_shuffle_epi8(four, apart));
#elif LANES == 8
    const __m128i low = _mm_loadu_si128((const __m128i*)w), high = _mm_loadu_si128((const __m128i*)(w + 12));
    const __m256i four = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    const __m256i apart = _mm256_broadcastsi128_si256(_mm_setr_epi8(-1, 0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11));
    return (vf)_mm256_cvtepi32_ps(_mm256_shuffle_epi8(four, apart));
#elif THREE_BYTES
    static const uint8_t apart[16] = {255, 0, 1, 2, 255, 3, 4, 5, 255, 6, 7, 8, 255, 9, 10, 11};
    return (vf)vcvtq_f32_s32(vreinterpretq_s32_u8(vqtbl1q_u8(vld1q_u8(w), vld1q_u8(apart))));
#else
    return vf{} + w[0];  // never called
#endif
}

// A row's inputs to a product: x; or q, in eight bits, with one scale for the row.
struct RowInputs {
    const float* x;
    const quantum* q;
    float scale;
};

// Rounds n inputs to eight bits and returns their scale. A number plus 1.5 · 2^23 has its nearest whole number in its last bits.
INLINE float quantise(const float* x, int64_t n, quantum* q) {
    vf top = {};
    int64_t k = 0;
    for (; k + LANES <= n; k += LANES) {
        const vf v = load(x + k), a = v < 0.f ? -v : v;
        top = a > top ? a : top;
    }
    float most = 0;
    for (int lane = 0; lane < LANES; ++lane) most = top[lane] > most ? top[lane] : most;
    for (int64_t r = k; r < n; ++r) {
        const float a = x[r] < 0 ? -x[r] : x[r];
        most = a > most ? a : most;
    }
    const float inverse = most > 0 ? 127.f / most : 0.f;
    const int32_t zero = GROUP == 4 ? 128 : 0;
    for (k = 0; k < n; k += LANES) {
        float piece[LANES] = {};
        const int64_t count = n - k < LANES ? n - k : LANES;
        if (count == LANES) store(piece, load(x + k)); else memcpy(piece, x + k, count * 4);
        const vf t = load(piece) * inverse + 12582912.f;
        const vi v = (vi)t - 0x4B400000 + zero;
        typedef quantum vq __attribute__((vector_size(LANES * sizeof(quantum))));
        const vq narrow = __builtin_convertvector(v, vq);
        memcpy(q + k, &narrow, sizeof(narrow));  // buffers have LANES to spare
    }
    return most / 127.f;
}

// sum += the products of GROUP inputs of a row, in eight bits, with LANES vectors of as many weights.
INLINE vi dot(vi sum, const quantum* a, const int8_t* w) {
#if defined(__AVX512VNNI__)
    int32_t four;
    memcpy(&four, a, 4);
    return (vi)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(four), _mm512_loadu_si512(w));
#elif LANES == 16
    int32_t two;
    memcpy(&two, a, 4);
    const __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)w));
    return sum + (vi)_mm512_madd_epi16(_mm512_set1_epi32(two), wide);
#elif LANES == 8
    int32_t two;
    memcpy(&two, a, 4);
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)w));
    return sum + (vi)_mm256_madd_epi16(_mm256_set1_epi32(two), wide);
#else
    for (int lane = 0; lane < LANES; ++lane) sum[lane] += (int32_t)a[0] * w[2 * lane] + (int32_t)a[1] * w[2 * lane + 1];
    return sum;
#endif
}

// acc += W a for R rows and NP panels, without scales.
template <class Map, int R, int NP, Bytes bytes>
INLINE void products(vf (&acc)[NP][R][4], const Packed& w, int64_t panel, const RowInputs* row) {
    constexpr int W = Map::width;
    const uint8_t* p[NP];
    const uint8_t* const weights = bytes == FOUR ? (const uint8_t*)w.f : w.three;
    UNROLLED for (int n = 0; n < NP; ++n) p[n] = weights + (panel + n) * w.inputs * W * LANES * bytes;
    const float* a[R];
    UNROLLED for (int r = 0; r < R; ++r) a[r] = row[r].x;
    for (int64_t k = 0; k < w.inputs; ++k) {
        vf b[R];
        UNROLLED for (int r = 0; r < R; ++r) b[r] = set1(a[r][k]);
        UNROLLED for (int n = 0; n < NP; ++n)
            UNROLLED for (int j = 0; j < W; ++j) {
                const uint8_t* at = p[n] + (k * W + j) * LANES * bytes;
                if (R == 1 && j * 64 < W * LANES * bytes)
                    __builtin_prefetch(p[n] + k * W * LANES * bytes + j * 64 + 1024 * bytes);
                const vf v = bytes == FOUR ? load((const float*)at) : widened(at);
                UNROLLED for (int r = 0; r < R; ++r) acc[n][r][Map::at[j]] = fma(b[r], v, acc[n][r][Map::at[j]]);
            }
    }
}

// The same for several panels side by side, so that additions need not wait for each other, with scales where there are any.
template <class Map, int R, int NP>
INLINE void product(vf (&acc)[NP][R][4], const Packed& w, int64_t panel, const RowInputs* row) {
    constexpr int W = Map::width;
    panel -= w.first;
    if (!w.q && !w.scales) return products<Map, R, NP, FOUR>(acc, w, panel, row);
    if (!w.q) {
        vf sum[NP][R][4] = {};
        if (THREE_BYTES && w.three) products<Map, R, NP, THREE>(sum, w, panel, row);
        else products<Map, R, NP, FOUR>(sum, w, panel, row);
        UNROLLED for (int n = 0; n < NP; ++n)
            UNROLLED for (int j = 0; j < W; ++j)
                UNROLLED for (int r = 0; r < R; ++r) {
                    vf& a = acc[n][r][Map::at[j]];
                    a = fma(sum[n][r][Map::at[j]], load(w.scales + ((panel + n) * W + j) * LANES), a);
                }
        return;
    }
    const int64_t groups = w.inputs / GROUP;
    vi sum[NP][R][W] = {};
    const int8_t* p[NP];
    UNROLLED for (int n = 0; n < NP; ++n) p[n] = w.q + (panel + n) * w.inputs * W * LANES;
    for (int64_t k = 0; k < groups; ++k)
        UNROLLED for (int n = 0; n < NP; ++n)
            UNROLLED for (int j = 0; j < W; ++j) {
                const int8_t* v = p[n] + (k * W + j) * LANES * GROUP;
                UNROLLED for (int r = 0; r < R; ++r) sum[n][r][j] = dot(sum[n][r][j], row[r].q + k * GROUP, v);
            }
    UNROLLED for (int n = 0; n < NP; ++n)
        UNROLLED for (int j = 0; j < W; ++j) {
            const int64_t unit = ((panel + n) * W + j) * LANES;
            vi offset = {};
            if (GROUP == 4) memcpy(&offset, w.sums + unit, sizeof(offset));
            UNROLLED for (int r = 0; r < R; ++r) {
                vf& a = acc[n][r][Map::at[j]];
                a = fma(__builtin_convertvector(sum[n][r][j] - offset, vf), load(w.scales + unit) * row[r].scale, a);
            }
        }
}

}  // namespace
