// The network stepped on one instruction set: this file is compiled once for each, see hatch_build.py. LANES numbers at a time.
//
// A unit's sum runs over its inputs in order, one fused multiply-add each, whatever the number of rows and threads: so a row's
// result never depends on its neighbours, bit for bit. Nothing here may come from a header with code of its own (the
// linker would merge copies made for different processors).
#include "engine.h"

#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define MAX_ROWS 6
#elif defined(__AVX2__)
#include <immintrin.h>
#define LANES 8
#define MAX_ROWS 3
#elif defined(__aarch64__)
#include <arm_neon.h>
#define LANES 4
#define MAX_ROWS 6
#else
#define LANES 4
#define MAX_ROWS 3
#endif
#if defined(__AVX512VNNI__)
#define GROUP 4  // inputs that one instruction sums
typedef uint8_t quantum;
#else
#define GROUP 2
typedef int16_t quantum;
#endif
#if LANES > 4 || defined(__aarch64__)
#define THREE_BYTES 1  // there is an instruction that sets bytes apart
#else
#define THREE_BYTES 0
#endif
#define INLINE static inline __attribute__((always_inline))
#define APART __attribute__((noinline))  // registers are dealt out for each function by itself
#define UNROLLED _Pragma("GCC unroll 16")

namespace {

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef float vf_any __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

INLINE vf load(const float* p) { return *(const vf_any*)p; }
INLINE void store(float* p, vf x) { *(vf_any*)p = x; }
INLINE vf set1(float x) { return vf{} + x; }
INLINE vf fma(vf a, vf b, vf c) {
#if LANES == 16
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif LANES == 8
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

// e^x: 2^n e^r with n the nearest whole number to x/ln 2, by a polynomial of degree six. What is not a number stays so.
INLINE vf exp_of(vf x) {
    x = x < -87.f ? set1(-87.f) : x;
    x = x > 87.f ? set1(87.f) : x;
    const vf magic = set1(12582912.f), t = fma(x, set1(1.44269504f), magic), n = t - magic;
    vf r = fma(n, set1(-0.693359375f), x);
    r = fma(n, set1(2.12194440e-4f), r);
    vf p = fma(set1(1.f / 720), r, set1(1.f / 120));
    p = fma(p, r, set1(1.f / 24));
    p = fma(p, r, set1(1.f / 6));
    p = fma(p, r, set1(.5f));
    p = fma(p, r, set1(1.f));
    p = fma(p, r, set1(1.f));
    return p * (vf)(((vi)t << 23) + (127 << 23));
}
INLINE vf sigmoid(vf x) { return 1.f / (1.f + exp_of(-x)); }
INLINE vf tanh_of(vf x) { return 1.f - 2.f / (1.f + exp_of(x + x)); }
// x Φ(x), with erf to 1.5e-7 (Abramowitz & Stegun 7.1.26).
INLINE vf gelu(vf x) {
    const vf a = (x < 0.f ? -x : x) * 0.70710678f, t = 1.f / (1.f + 0.3275911f * a);
    vf p = fma(set1(1.061405429f), t, set1(-1.453152027f));
    p = fma(p, t, set1(1.421413741f));
    p = fma(p, t, set1(-0.284496736f));
    p = fma(p, t, set1(0.254829592f)) * t;
    const vf erf = 1.f - p * exp_of(-(a * a));
    return 0.5f * x * (1.f + (x < 0.f ? -erf : erf));
}

INLINE int64_t up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// ---- weights, laid out as they are read: panels of units, in a panel input by input --------------------------------------------

// The accumulators of a panel are four vectors: of an LSTM the gates i, f, g, o of LANES units; of a GRU r, z, what the input
// adds to n and what the state adds; of any other layer 4 · LANES outputs. A Map says which of them a product adds to.
struct Four { static constexpr int width = 4; static constexpr int at[4] = {0, 1, 2, 3}; };
struct GruInput { static constexpr int width = 3; static constexpr int at[4] = {0, 1, 2, 2}; };
struct GruState { static constexpr int width = 3; static constexpr int at[4] = {0, 1, 3, 3}; };
constexpr int Four::at[4], GruInput::at[4], GruState::at[4];

// Weights are numbers of 32 bits; or of eight with a scale for each unit; or, for networks that are larger than a core's cache,
// of 24 with a scale: a step then waits for three bytes a weight instead of four. They are whole numbers below 2^23, so what is
// lost is 2^-24 of a unit's largest weight: no more than float32 may lose of that one, and less than it loses in a sum.
struct Packed {
    int64_t inputs = 0, panels = 0;
    int64_t first = 0;         // the panel that the array begins with
    int width = 4;
    float* f = nullptr;        // (panels, inputs, width, LANES)
    int8_t* q = nullptr;       // (panels, inputs / GROUP, width, LANES, GROUP)
    uint8_t* three = nullptr;  // (panels, inputs, width, LANES, 3)
    float* scales = nullptr;   // (panels, width, LANES): what q, three, or f made of them are to be multiplied by
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

// Where unit u of gate g stands among the rows of the weights: with gates, a panel has LANES units of each; without, 4 · LANES.
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
                    out.q[((p * (out.inputs / GROUP) + k / GROUP) * width + j) * LANES * GROUP + lane * GROUP + k % GROUP] = (int8_t)value;
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
    const __m512i four = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 11, 12), _mm512_loadu_si512(w));
    const __m512i apart = _mm512_broadcast_i32x4(_mm_setr_epi8(-1, 0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11));
    return (vf)_mm512_cvtepi32_ps(_mm512_shuffle_epi8(four, apart));
#elif LANES == 8
    const __m256i four = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)w)), _mm_loadu_si128((const __m128i*)(w + 12)), 1);
    const __m256i apart = _mm256_broadcastsi128_si256(_mm_setr_epi8(-1, 0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11));
    return (vf)_mm256_cvtepi32_ps(_mm256_shuffle_epi8(four, apart));
#elif THREE_BYTES
    static const uint8_t apart[16] = {255, 0, 1, 2, 255, 3, 4, 5, 255, 6, 7, 8, 255, 9, 10, 11};
    return (vf)vcvtq_f32_s32(vreinterpretq_s32_u8(vqtbl1q_u8(vld1q_u8(w), vld1q_u8(apart))));
#else
    return vf{} + w[0];  // never asked for
#endif
}


// A row of inputs to a product; in eight bits with one scale for the row.
struct Row {
    const float* x;
    const quantum* q;
    float scale;
};

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
INLINE void products(vf (&acc)[NP][R][4], const Packed& w, int64_t panel, const Row* row) {
    constexpr int W = Map::width;
    const uint8_t* p[NP];
    UNROLLED for (int n = 0; n < NP; ++n) p[n] = (bytes == FOUR ? (const uint8_t*)w.f : w.three) + (panel + n) * w.inputs * W * LANES * bytes;
    const float* a[R];
    UNROLLED for (int r = 0; r < R; ++r) a[r] = row[r].x;
    for (int64_t k = 0; k < w.inputs; ++k) {
        vf b[R];
        UNROLLED for (int r = 0; r < R; ++r) b[r] = set1(a[r][k]);
        UNROLLED for (int n = 0; n < NP; ++n)
            UNROLLED for (int j = 0; j < W; ++j) {
                const uint8_t* at = p[n] + (k * W + j) * LANES * bytes;
                if (R == 1 && j * 64 < W * LANES * bytes) __builtin_prefetch(p[n] + k * W * LANES * bytes + j * 64 + 1024 * bytes);
                const vf v = bytes == FOUR ? load((const float*)at) : widened(at);
                UNROLLED for (int r = 0; r < R; ++r) acc[n][r][Map::at[j]] = fma(b[r], v, acc[n][r][Map::at[j]]);
            }
    }
}

// The same for several panels side by side, so that additions need not wait for each other, with scales where there are any.
template <class Map, int R, int NP>
INLINE void product(vf (&acc)[NP][R][4], const Packed& w, int64_t panel, const Row* row) {
    constexpr int W = Map::width;
    panel -= w.first;
    if (!w.q && !w.scales) return products<Map, R, NP, FOUR>(acc, w, panel, row);
    if (!w.q) {
        vf sum[NP][R][4] = {};
        if (THREE_BYTES && w.three) products<Map, R, NP, THREE>(sum, w, panel, row);
        else products<Map, R, NP, FOUR>(sum, w, panel, row);
        UNROLLED for (int n = 0; n < NP; ++n)
            UNROLLED for (int j = 0; j < W; ++j)
                UNROLLED for (int r = 0; r < R; ++r)
                    acc[n][r][Map::at[j]] = fma(sum[n][r][Map::at[j]], load(w.scales + ((panel + n) * W + j) * LANES), acc[n][r][Map::at[j]]);
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
            UNROLLED for (int r = 0; r < R; ++r)
                acc[n][r][Map::at[j]] = fma(__builtin_convertvector(sum[n][r][j] - offset, vf), load(w.scales + unit) * row[r].scale, acc[n][r][Map::at[j]]);
        }
}

// ---- layers --------------------------------------------------------------------------------------------------------------------

struct Layer {
    Packed input, state;
    float* start = nullptr;  // (panels, 4, LANES): the biases, where the accumulators start
};

struct Net {
    Shape shape;
    int64_t wide;      // H, rounded up to whole panels
    int64_t panels;    // of a recurrent layer, or of a window's
    float* table = nullptr;      // (V, panels, 4, LANES)
    float* embedding = nullptr;  // (V, E)
    Layer* layers = nullptr;     // recurrent, or a window's
    Layer* after = nullptr;
    Layer projection, output;
    Bytes bytes;
};

// Weights that a step reads.
int64_t weights_of(const Shape& s) {
    const int64_t gates = s.arch == LSTM ? 4 : s.arch == GRU ? 3 : 1, first = s.arch == WINDOW ? s.window * s.embedding : s.table ? 0 : s.embedding;
    const int64_t recurrent = s.arch == WINDOW ? 0 : s.layers * s.hidden;
    return gates * s.hidden * (first + (s.layers - 1) * s.hidden + recurrent) + s.after * s.hidden * s.hidden +
           (s.head != s.hidden ? s.head * s.hidden : 0) + s.vocab * s.head;
}

void drop(Layer& layer) { drop(layer.input); drop(layer.state); free(layer.start); }

int gates_of(int64_t arch) { return arch == LSTM ? 4 : arch == GRU ? 3 : 0; }
INLINE int64_t units_of(const Packed& p) { return p.panels * 4 * LANES; }

bool pack_start(float*& out, const float* first, const float* second, Layout layout, bool gru) {
    const int64_t panels = layout.panels();
    if (!(out = (float*)allocate(panels * 4 * LANES * 4))) return false;
    for (int64_t p = 0; p < panels; ++p)
        for (int j = 0; j < 4; ++j)
            for (int lane = 0; lane < LANES; ++lane) {
                const int64_t row = layout.row(p, j < layout.width() ? j : 2, lane);
                float value = 0;
                if (row >= 0 && gru && j >= 2) value = j == 2 ? (first ? first[row] : 0) : (second ? second[row] : 0);
                else if (row >= 0) value = (first ? first[row] : 0) + (second ? second[row] : 0);
                out[(p * 4 + j) * LANES + lane] = value;
            }
    return true;
}

bool make_linear(Layer& layer, const float* w, const float* bias, int64_t inputs, int64_t outputs, Bytes bytes) {
    const Layout layout{outputs, 0};
    return pack(layer.input, w, inputs, layout, bytes) && pack_start(layer.start, bias, nullptr, layout, false);
}

void free_net(void* made) {
    Net* net = (Net*)made;
    if (!net) return;
    for (int64_t k = 0; net->layers && k < net->shape.layers; ++k) drop(net->layers[k]);
    for (int64_t k = 0; net->after && k < net->shape.after; ++k) drop(net->after[k]);
    free(net->layers);
    free(net->after);
    drop(net->projection);
    drop(net->output);
    free(net->table);
    free(net->embedding);
    free(net);
}

void* make_net(const Shape& shape, Weights w) {
    Net* net = (Net*)calloc(1, sizeof(Net));
    if (!net) return nullptr;
    net->shape = shape;
    const int64_t V = shape.vocab, E = shape.embedding, H = shape.hidden;
    const int gates = gates_of(shape.arch);
    const bool gru = shape.arch == GRU;
    const Bytes bytes = net->bytes = shape.int8 ? ONE : THREE_BYTES && 4 * weights_of(shape) > CACHE ? THREE : FOUR;
    const Layout layout{H, gates};
    net->panels = layout.panels();
    net->wide = net->panels * (gates ? 1 : 4) * LANES;
    net->layers = (Layer*)calloc(shape.layers, sizeof(Layer));
    net->after = (Layer*)calloc(shape.after + 1, sizeof(Layer));
    bool good = net->layers && net->after;
    const float* first = *w++;
    const int64_t wide = net->panels * 4 * LANES;
    if (shape.table) {
        const int64_t rows = (gates ? gates : 1) * H;
        good = good && (net->table = (float*)allocate(V * wide * 4));
        for (int64_t v = 0; good && v < V; ++v) {
            float* packed = nullptr;
            // A GRU's fourth vector, what the state adds to n, starts at its own bias: the second bias of the first layer.
            if (!(good = pack_start(packed, first + v * rows, nullptr, layout, false))) break;
            memcpy(net->table + v * wide, packed, wide * 4);
            free(packed);
        }
    } else {
        good = good && (net->embedding = (float*)allocate(V * E * 4));
        if (good) memcpy(net->embedding, first, V * E * 4);
    }
    for (int64_t k = 0; good && k < shape.layers; ++k) {
        Layer& layer = net->layers[k];
        if (shape.arch == WINDOW) {
            good = make_linear(layer, w[0], w[1], k ? H : shape.window * E, H, bytes);
            w += 2;
            continue;
        }
        if (w[0]) good = pack(layer.input, w[0], k ? H : E, layout, bytes);
        good = good && pack(layer.state, w[1], H, layout, bytes) && pack_start(layer.start, w[2], w[3], layout, gru);
        if (good && k == 0 && shape.table && gru)
            for (int64_t v = 0; v < V; ++v)
                for (int64_t p = 0; p < net->panels; ++p)
                    memcpy(net->table + v * wide + (p * 4 + 3) * LANES, layer.start + (p * 4 + 3) * LANES, LANES * 4);
        w += 4;
    }
    for (int64_t k = 0; good && k < shape.after; ++k, w += 2) good = make_linear(net->after[k], w[0], w[1], H, H, bytes);
    if (good && w[0]) good = make_linear(net->projection, w[0], nullptr, H, shape.head, bytes);
    ++w;
    good = good && make_linear(net->output, w[0], w[1], shape.head, V, bytes);
    if (good) return net;
    free_net(net);
    return nullptr;
}

// Each cell's equation (unroll/nn/cells.py), from the four accumulators of a panel; `h` is the state before, `out` after.
struct LstmCell {
    typedef Four Input; typedef Four State;
    static constexpr int vectors = 1;
    INLINE void finish(const vf* a, const float*, float* c, float* out) {
        const vf kept = fma(sigmoid(a[1]), load(c), sigmoid(a[0]) * tanh_of(a[2]));  // c = f c₋₁ + i g
        store(c, kept);
        store(out, sigmoid(a[3]) * tanh_of(kept));  // h = o tanh c
    }
};
struct GruCell {
    typedef GruInput Input; typedef GruState State;
    static constexpr int vectors = 1;
    INLINE void finish(const vf* a, const float* h, float*, float* out) {
        const vf z = sigmoid(a[1]), n = tanh_of(fma(sigmoid(a[0]), a[3], a[2]));
        store(out, fma(z, load(h), (1.f - z) * n));
    }
};
struct RnnCell {
    typedef Four Input; typedef Four State;
    static constexpr int vectors = 4;
    INLINE void finish(const vf* a, const float*, float*, float* out) {
        UNROLLED for (int j = 0; j < 4; ++j) store(out + j * LANES, tanh_of(a[j]));
    }
};

// One row in a layer: what it reads, where its sums start, its state before, its cell and where its new state goes.
struct Place {
    Row x, h;
    const float* start;
    float *c, *out;
};

// Panels that a few rows go through side by side, as far as the registers reach.
constexpr int abreast(int rows) { return rows == 1 || (rows == 2 && MAX_ROWS > 3) ? 2 : 1; }

// A unit's sums, of what comes in (from its bias on) and of the state (from zero on), are added at the end: so either may be
// worked out first, and the result is the same.
template <class Cell, int R, int NP>
INLINE void cell_tile(const Layer& layer, int64_t panel, const Place* place) {
    vf acc[NP][R][4] = {}, of_input[NP][R][4];
    Row x[R], h[R];
    UNROLLED for (int r = 0; r < R; ++r) x[r] = place[r].x, h[r] = place[r].h;
    product<typename Cell::State, R, NP>(acc, layer.state, panel, h);
    UNROLLED for (int r = 0; r < R; ++r)
        UNROLLED for (int n = 0; n < NP; ++n)
            UNROLLED for (int j = 0; j < 4; ++j) of_input[n][r][j] = load(place[r].start + ((panel + n) * 4 + j) * LANES);
    if (x[0].x) product<typename Cell::Input, R, NP>(of_input, layer.input, panel, x);
    UNROLLED for (int n = 0; n < NP; ++n)
        UNROLLED for (int r = 0; r < R; ++r) {
            const int64_t at = (panel + n) * Cell::vectors * LANES;
            UNROLLED for (int j = 0; j < 4; ++j) acc[n][r][j] = of_input[n][r][j] + acc[n][r][j];
            Cell::finish(acc[n][r], h[r].x + at, place[r].c ? place[r].c + at : nullptr, place[r].out + at);
        }
}

// Panels from the first on or from the last, `tile` of so many side by side where there are as many.
template <int NP, class F, class G>
INLINE void by_panels(int64_t from, int64_t to, bool back, F&& tile, G&& single) {
    const int64_t whole = (to - from) / NP, rest = from + whole * NP;
    if (back)
        for (int64_t panel = to - 1; panel >= rest; --panel) single(panel);
    for (int64_t n = 0; n < whole; ++n) tile(from + (back ? whole - 1 - n : n) * NP);
    if (!back)
        for (int64_t panel = rest; panel < to; ++panel) single(panel);
}

template <class Cell, int R>
APART void cell_panels(const Layer& layer, int64_t from, int64_t to, bool back, const Place* place) {
    constexpr int NP = abreast(R);
    by_panels<NP>(from, to, back, [&](int64_t panel) { cell_tile<Cell, R, NP>(layer, panel, place); },
                  [&](int64_t panel) { cell_tile<Cell, R, 1>(layer, panel, place); });
}

// One row's sums in a layer: what is read, where they start (null: at zero) and where they go, (panels, 4, LANES).
struct Sum {
    Row x;
    const float* start;
    float* out;
};

template <class Map, int R, int NP>
INLINE void sum_tile(const Packed& w, int64_t panel, const Sum* sum) {
    vf acc[NP][R][4];
    Row x[R];
    UNROLLED for (int r = 0; r < R; ++r) {
        x[r] = sum[r].x;
        UNROLLED for (int n = 0; n < NP; ++n)
            UNROLLED for (int j = 0; j < 4; ++j) acc[n][r][j] = sum[r].start ? load(sum[r].start + ((panel + n) * 4 + j) * LANES) : vf{};
    }
    product<Map, R, NP>(acc, w, panel, x);
    UNROLLED for (int n = 0; n < NP; ++n)
        UNROLLED for (int r = 0; r < R; ++r)
            UNROLLED for (int j = 0; j < 4; ++j) store(sum[r].out + ((panel + n) * 4 + j) * LANES, acc[n][r][j]);
}

template <class Map, int R>
APART void sum_panels(const Packed& w, int64_t from, int64_t to, bool back, const Sum* sum) {
    constexpr int NP = abreast(R);
    by_panels<NP>(from, to, back, [&](int64_t panel) { sum_tile<Map, R, NP>(w, panel, sum); },
                  [&](int64_t panel) { sum_tile<Map, R, 1>(w, panel, sum); });
}

// Sums of up to MAX_ROWS rows for some panels, from the first on or from the last.
template <class Map>
void sums(const Packed& w, int64_t rows, int64_t from, int64_t to, bool back, const Sum* sum) {
    switch (rows) {
        case 1: return sum_panels<Map, 1>(w, from, to, back, sum);
        case 2: return sum_panels<Map, 2>(w, from, to, back, sum);
        case 3: return sum_panels<Map, 3>(w, from, to, back, sum);
#if MAX_ROWS > 3
        case 4: return sum_panels<Map, 4>(w, from, to, back, sum);
        case 5: return sum_panels<Map, 5>(w, from, to, back, sum);
        case 6: return sum_panels<Map, 6>(w, from, to, back, sum);
#endif
    }
}

// A row's new state from its sums of what comes in and of the state.
template <class Cell>
void finish(int64_t from, int64_t to, const float* x, const float* of_state, const float* h, float* c, float* out) {
    for (int64_t panel = from; panel < to; ++panel) {
        vf a[4];
        UNROLLED for (int j = 0; j < 4; ++j) a[j] = load(x + (panel * 4 + j) * LANES) + load(of_state + (panel * 4 + j) * LANES);
        const int64_t at = panel * Cell::vectors * LANES;
        Cell::finish(a, h + at, c ? c + at : nullptr, out + at);
    }
}

enum Act { AS_IS, TANH, GELU };

// out (R rows) = act(W x + b) for the columns of some panels; only what is there is written.
template <int R, int NP>
INLINE void linear_tile(const Layer& layer, int64_t panel, const Row* x, float* const* out, int64_t first, int64_t columns, Act act) {
    vf acc[NP][R][4];
    UNROLLED for (int n = 0; n < NP; ++n)
        UNROLLED for (int r = 0; r < R; ++r)
            UNROLLED for (int j = 0; j < 4; ++j) acc[n][r][j] = load(layer.start + ((panel + n) * 4 + j) * LANES);
    product<Four, R, NP>(acc, layer.input, panel, x);
    UNROLLED for (int n = 0; n < NP; ++n)
        UNROLLED for (int r = 0; r < R; ++r)
            UNROLLED for (int j = 0; j < 4; ++j) {
                const int64_t at = ((panel + n) * 4 + j) * LANES;
                if (at >= columns) continue;
                const vf a = acc[n][r][j], y = act == AS_IS ? a : act == TANH ? tanh_of(a) : gelu(a);
                if (at + LANES <= columns) store(out[r] + at - first, y);
                else for (int lane = 0; at + lane < columns; ++lane) out[r][at - first + lane] = y[lane];
            }
}

template <int R>
APART void linear_panels(const Layer& layer, int64_t from, int64_t to, const Row* x, float* const* out, int64_t first, int64_t columns, Act act) {
    constexpr int NP = abreast(R);
    by_panels<NP>(from, to, false, [&](int64_t panel) { linear_tile<R, NP>(layer, panel, x, out, first, columns, act); },
                  [&](int64_t panel) { linear_tile<R, 1>(layer, panel, x, out, first, columns, act); });
}

// By panels first: a panel's weights stay in the cache while the rows pass. `begin` is told of a panel before many rows come.
template <class G, class F>
INLINE void by_tiles(int64_t rows, int64_t from, int64_t to, bool back, G&& begin, F&& tile) {
    const int64_t wide = rows > 2 ? 1 : to - from;
    for (int64_t n = 0; n < to - from; n += wide) {
        const int64_t panel = back && wide == 1 ? to - 1 - n : from + n;
        if (rows > MAX_ROWS) begin(panel);
        for (int64_t row = 0; row < rows; row += MAX_ROWS) tile(row, rows - row < MAX_ROWS ? rows - row : MAX_ROWS, panel, panel + wide);
    }
}

// A panel of weights as many rows read it: set apart once, in `room`, where they have three bytes; that takes up the room.
Packed apart(const Packed& w, int64_t panel, float*& room) {
    if (!w.three) return w;
    const int64_t vectors = w.inputs * w.width;
    for (int64_t k = 0; k < vectors; ++k) store(room + k * LANES, widened(w.three + (panel * vectors + k) * LANES * 3));
    Packed made = w;
    made.three = nullptr, made.f = room, made.first = panel, made.scales = w.scales + panel * w.width * LANES;
    room += vectors * LANES;
    return made;
}

template <class Cell>
void cells(const Layer& layer, int64_t rows, int64_t from, int64_t to, bool back, const Place* place, float* room) {
    Layer at_hand = layer;
    const auto begin = [&](int64_t panel) {
        float* left = room;
        at_hand.input = apart(layer.input, panel, left), at_hand.state = apart(layer.state, panel, left);
    };
    by_tiles(rows, from, to, back, begin, [&](int64_t row, int64_t count, int64_t p, int64_t q) {
        switch (count) {
            case 1: cell_panels<Cell, 1>(at_hand, p, q, back, place + row); break;
            case 2: cell_panels<Cell, 2>(at_hand, p, q, back, place + row); break;
            case 3: cell_panels<Cell, 3>(at_hand, p, q, back, place + row); break;
#if MAX_ROWS > 3
            case 4: cell_panels<Cell, 4>(at_hand, p, q, back, place + row); break;
            case 5: cell_panels<Cell, 5>(at_hand, p, q, back, place + row); break;
            case 6: cell_panels<Cell, 6>(at_hand, p, q, back, place + row); break;
#endif
        }
    });
}

// Columns from `first` on land at out[r][0].
void linear(const Layer& layer, int64_t rows, int64_t from, int64_t to, const Row* x, float* const* out, int64_t first, int64_t columns, Act act, float* room) {
    Layer at_hand = layer;
    const auto begin = [&](int64_t panel) {
        float* left = room;
        at_hand.input = apart(layer.input, panel, left);
    };
    by_tiles(rows, from, to, false, begin, [&](int64_t row, int64_t count, int64_t p, int64_t q) {
        switch (count) {
            case 1: linear_panels<1>(at_hand, p, q, x + row, out + row, first, columns, act); break;
            case 2: linear_panels<2>(at_hand, p, q, x + row, out + row, first, columns, act); break;
            case 3: linear_panels<3>(at_hand, p, q, x + row, out + row, first, columns, act); break;
#if MAX_ROWS > 3
            case 4: linear_panels<4>(at_hand, p, q, x + row, out + row, first, columns, act); break;
            case 5: linear_panels<5>(at_hand, p, q, x + row, out + row, first, columns, act); break;
            case 6: linear_panels<6>(at_hand, p, q, x + row, out + row, first, columns, act); break;
#endif
        }
    });
}

// ---- a group of rows on their way ----------------------------------------------------------------------------------------------

// Rows of one thread, or of a team of threads that shares each step by panels. What the team writes together lies in `shared`
// (states, one before and one after; outputs of linear layers); what each works out for itself is its own.
struct Walk {
    const Net& net;
    Job& job;
    const int64_t rows;
    const int me, team;
    int64_t turn = 0;
    float *h, *c, *line;     // shared: h (layers, 2, rows, wide), c (layers, rows, wide); line: outputs (2, rows, widest), a window's inputs
    float *own, *sum;        // (rows, wide) each: a layer's input with its skip, the sum of all layers
    float *of_input, *of_state;  // of few rows: sums of a layer's input (rows, panels, 4, LANES) and of each layer's state (layers, …)
    Sum* few;
    float* room;  // of many rows: a panel's weights, set apart
    quantum *qx, *qh;        // (rows, widest)
    Place* places;
    Row* list;
    float** targets;
    int64_t widest;

    static int64_t widest_of(const Net& net) {
        const int64_t a = net.wide > net.shape.embedding ? net.wide : net.shape.embedding;
        const int64_t b = net.shape.arch == WINDOW ? net.shape.window * net.shape.embedding : 0;
        return up(a > b ? a : b, 4 * LANES) + 4 * LANES;
    }
    static int64_t shared_floats(const Net& net, int64_t rows) {
        const int64_t parts = net.shape.arch == WINDOW ? 0 : net.shape.layers * (net.shape.arch == LSTM ? 3 : 2);
        return rows * (parts * net.wide + 3 * widest_of(net));
    }
    static int64_t room_bytes(const Net& net, int64_t rows) {
        return net.bytes == THREE && rows > MAX_ROWS ? 2 * widest_of(net) * 4 * LANES * 4 : 0;
    }
    // For so many rows or fewer: of few there are sums too.
    static int64_t own_bytes(const Net& net, int64_t rows) {
        const int64_t all = bytes_of(net, rows), few = bytes_of(net, rows < MAX_ROWS ? rows : MAX_ROWS);
        return all > few ? all : few;
    }
    static int64_t bytes_of(const Net& net, int64_t rows) {
        const int64_t sums = rows > MAX_ROWS || net.shape.layers < 2 ? 0 : (net.shape.layers + 1) * rows * net.panels * 4 * LANES * 4;
        return up(rows * net.wide * 4, 64) * 2 + up(rows * widest_of(net) * (int64_t)sizeof(quantum), 64) * 2 + sums + room_bytes(net, rows) +
               up(rows * (int64_t)(sizeof(Place) + sizeof(Row) + sizeof(Sum) + sizeof(float*)), 64);
    }

    Walk(const Net& net, Job& job, int64_t rows, int me, int team, float* shared, char* mine)
        : net(net), job(job), rows(rows), me(me), team(team), widest(widest_of(net)) {
        const int64_t layers = net.shape.arch == WINDOW ? 0 : net.shape.layers;
        h = shared;
        c = h + layers * 2 * rows * net.wide;
        line = c + (net.shape.arch == LSTM ? layers * rows * net.wide : 0);
        own = (float*)mine, mine += up(rows * net.wide * 4, 64);
        sum = (float*)mine, mine += up(rows * net.wide * 4, 64);
        qx = (quantum*)mine, mine += up(rows * widest * (int64_t)sizeof(quantum), 64);
        qh = (quantum*)mine, mine += up(rows * widest * (int64_t)sizeof(quantum), 64);
        const int64_t each = rows > MAX_ROWS || net.shape.layers < 2 ? 0 : rows * net.panels * 4 * LANES;
        of_input = (float*)mine, mine += each * 4;
        of_state = (float*)mine, mine += each * 4 * net.shape.layers;
        room = (float*)mine, mine += room_bytes(net, rows);
        few = (Sum*)mine, mine += rows * sizeof(Sum);
        places = (Place*)mine, mine += rows * sizeof(Place);
        list = (Row*)mine, mine += rows * sizeof(Row);
        targets = (float**)mine;
    }

    float* state(int64_t layer, int64_t which, int64_t row) const { return h + ((layer * 2 + which) * rows + row) * net.wide; }
    float* cell(int64_t layer, int64_t row) const { return c + (layer * rows + row) * net.wide; }
    float* window(int64_t row) const { return line + 2 * rows * widest + row * widest; }
    float* output(int64_t which, int64_t row) const { return line + (which * rows + row) * widest; }
    void meet() { if (team > 1) wait(job.barrier); }
    int64_t share(int64_t panels, int which) const { return panels * which / team; }

    Row row_of(const float* x, int64_t inputs, quantum* q) {
        Row row{x, q, 0};
        if (net.shape.int8) {
            row.scale = quantise(x, inputs, q);
            for (int64_t k = inputs; k < up(inputs, GROUP); ++k) q[k] = GROUP == 4 ? 128 : 0;
        }
        return row;
    }

    // States come in and go out between the caller's arrays, (B, H), and rows of whole panels. By the first of a team.
    void take(int64_t first) {
        const Shape& s = net.shape;
        if (me) return;
        if (s.arch == WINDOW) {
            const int64_t size = (s.window - 1) * s.embedding;
            for (int64_t r = 0; r < rows; ++r) memcpy(window(r) + s.embedding, job.state[0] + (first + r) * size, size * 4);
            return;
        }
        const int64_t parts = s.arch == LSTM ? 2 : 1;
        for (int64_t k = 0; k < s.layers; ++k)
            for (int64_t r = 0; r < rows; ++r) {
                for (int64_t which = 0; which < 2; ++which) memset(state(k, which, r), 0, net.wide * 4);
                memcpy(state(k, 0, r), job.state[k * parts] + (first + r) * s.hidden, s.hidden * 4);
                if (parts < 2) continue;
                memset(cell(k, r), 0, net.wide * 4);
                memcpy(cell(k, r), job.state[k * parts + 1] + (first + r) * s.hidden, s.hidden * 4);
            }
    }
    void give(int64_t first) {
        const Shape& s = net.shape;
        if (me) return;
        if (s.arch == WINDOW) {
            const int64_t size = (s.window - 1) * s.embedding;
            for (int64_t r = 0; r < rows; ++r) memcpy(job.state[0] + (first + r) * size, window(r) + s.embedding, size * 4);
            return;
        }
        const int64_t parts = s.arch == LSTM ? 2 : 1;
        for (int64_t k = 0; k < s.layers; ++k)
            for (int64_t r = 0; r < rows; ++r) {
                memcpy(job.state[k * parts] + (first + r) * s.hidden, state(k, turn & 1, r), s.hidden * 4);
                if (parts == 2) memcpy(job.state[k * parts + 1] + (first + r) * s.hidden, cell(k, r), s.hidden * 4);
            }
    }

    // Reads one symbol a row, the last of this walk or not; returns where the outputs of the last layer lie, `stride` apart.
    const float* step(const int64_t* ids, int64_t ids_stride, bool last, int64_t& stride) {
        const Shape& s = net.shape;
        if (s.arch == WINDOW) return step_window(ids, ids_stride, stride);
        stride = net.wide;
        if (rows > MAX_ROWS || s.layers < 2) return step_layers(ids, ids_stride);
        return s.arch == LSTM ? step_few<LstmCell>(ids, ids_stride, last)
             : s.arch == GRU ? step_few<GruCell>(ids, ids_stride, last) : step_few<RnnCell>(ids, ids_stride, last);
    }

    // What layer k hands on, from what it was given and its new state.
    const float* handed_on(int64_t k, const float* x, const float* y) {
        if (net.shape.skip == RESIDUAL && k) {
            for (int64_t i = 0; i < rows * net.wide; i += LANES) store(own + i, load(y + i) + load(x + i));
            y = own;
        }
        if (net.shape.skip == SUM)
            for (int64_t i = 0; i < rows * net.wide; i += LANES) store(sum + i, k ? load(sum + i) + load(y + i) : load(y + i));
        return y;
    }

    // A layer after the other; every second step backwards through the weights of each.
    const float* step_layers(const int64_t* ids, int64_t ids_stride) {
        const Shape& s = net.shape;
        const float* x = nullptr;  // of the layer at hand, `wide` apart
        const int64_t before = turn & 1, after = before ^ 1;
        for (int64_t k = 0; k < s.layers; ++k) {
            const Layer& layer = net.layers[k];
            for (int64_t r = 0; r < rows; ++r) {
                Place& place = places[r];
                const int64_t id = ids[r * ids_stride];
                place.start = layer.start;
                place.x = Row{nullptr, nullptr, 0};
                if (k) place.x = row_of(x + r * net.wide, s.hidden, qx + r * widest);
                else if (s.table) place.start = net.table + id * net.panels * 4 * LANES;
                else place.x = row_of(net.embedding + id * s.embedding, s.embedding, qx + r * widest);
                place.h = row_of(state(k, before, r), s.hidden, qh + r * widest);
                place.c = s.arch == LSTM ? cell(k, r) : nullptr;
                place.out = state(k, after, r);
            }
            const int64_t from = share(net.panels, me), to = share(net.panels, me + 1);
            if (s.arch == LSTM) cells<LstmCell>(layer, rows, from, to, turn & 1, places, room);
            else if (s.arch == GRU) cells<GruCell>(layer, rows, from, to, turn & 1, places, room);
            else cells<RnnCell>(layer, rows, from, to, turn & 1, places, room);
            meet();
            x = handed_on(k, x, state(k, after, 0));
        }
        turn = turn + 1;
        return s.skip == SUM ? sum : x;
    }

    float* sums_of_state(int64_t layer, int64_t row) const { return of_state + (layer * rows + row) * net.panels * 4 * LANES; }
    float* sums_of_input(int64_t row) const { return of_input + row * net.panels * 4 * LANES; }

    template <class Cell>
    void sum_state(int64_t k, int64_t which) {
        for (int64_t r = 0; r < rows; ++r) few[r] = Sum{row_of(state(k, which, r), net.shape.hidden, qh + r * widest), nullptr, sums_of_state(k, r)};
        sums<typename Cell::State>(net.layers[k].state, rows, share(net.panels, me), share(net.panels, me + 1), turn & 1, few);
    }

    // Few rows wait for the weights. So that what a core's cache still holds of them is read first, every second step goes
    // backwards through all of them, as far as the order of layers lets it: through two layers wholly. For that the first
    // layer's sums of its state are worked out a step ahead. With U for weights of a state and W for those of an input:
    //   U₁ h₁, U₀ h₀ (for the next step), W₁ h₀; the next step W₁ h₀, U₀ h₀, U₁ h₁.
    template <class Cell>
    const float* step_few(const int64_t* ids, int64_t ids_stride, bool last) {
        const Shape& s = net.shape;
        const float* x = nullptr;
        const int64_t before = turn & 1, after = before ^ 1, from = share(net.panels, me), to = share(net.panels, me + 1);
        const bool back = turn & 1;
        if (!turn) sum_state<Cell>(0, before);
        for (int64_t k = s.layers - 1; !back && k > 0; --k) sum_state<Cell>(k, before);
        for (int64_t k = 0; k < s.layers; ++k) {
            const bool looked_up = !k && s.table;
            if (!looked_up) {
                const int64_t inputs = k ? s.hidden : s.embedding;
                for (int64_t r = 0; r < rows; ++r)
                    few[r] = Sum{row_of(k ? x + r * net.wide : net.embedding + ids[r * ids_stride] * inputs, inputs, qx + r * widest), net.layers[k].start, sums_of_input(r)};
                sums<typename Cell::Input>(net.layers[k].input, rows, from, to, back, few);
            }
            if (back && k == 1 && !last) sum_state<Cell>(0, after);
            if (back && k) sum_state<Cell>(k, before);
            for (int64_t r = 0; r < rows; ++r)
                finish<Cell>(from, to, looked_up ? net.table + ids[r * ids_stride] * net.panels * 4 * LANES : sums_of_input(r),
                             sums_of_state(k, r), state(k, before, r), s.arch == LSTM ? cell(k, r) : nullptr, state(k, after, r));
            meet();
            if (!k && !last && !back) sum_state<Cell>(0, after);
            x = handed_on(k, x, state(k, after, 0));
        }
        turn = turn + 1;
        return s.skip == SUM ? sum : x;
    }

    const float* step_window(const int64_t* ids, int64_t ids_stride, int64_t& stride) {
        const Shape& s = net.shape;
        const int64_t size = s.window * s.embedding;
        if (!me)
            for (int64_t r = 0; r < rows; ++r) {
                memmove(window(r), window(r) + s.embedding, (size - s.embedding) * 4);
                memcpy(window(r) + size - s.embedding, net.embedding + ids[r * ids_stride] * s.embedding, s.embedding * 4);
            }
        meet();
        for (int64_t k = 0; k < s.layers; ++k) {
            for (int64_t r = 0; r < rows; ++r) {
                list[r] = row_of(k ? output((k - 1) & 1, r) : window(r), k ? s.hidden : size, qx + r * widest);
                targets[r] = output(k & 1, r);
            }
            const int64_t panels = net.layers[k].input.panels;
            linear(net.layers[k], rows, share(panels, me), share(panels, me + 1), list, targets, 0, s.hidden, TANH, room);
            meet();
        }
        stride = widest;
        return output((s.layers - 1) & 1, 0);
    }

    // From outputs of the last layer to the inputs of the output layer, in `list`; uses the lines, from number `next` on.
    void to_head(const float* y, int64_t stride, int64_t next) {
        const Shape& s = net.shape;
        int64_t inputs = s.hidden;
        for (int64_t k = 0; k < s.after + (net.projection.start != nullptr); ++k, ++next) {
            const Layer& layer = k < s.after ? net.after[k] : net.projection;
            const int64_t columns = k < s.after ? s.hidden : s.head;
            for (int64_t r = 0; r < rows; ++r) {
                list[r] = row_of(y + r * stride, inputs, qx + r * widest);
                targets[r] = output(next & 1, r);
            }
            linear(layer, rows, share(layer.input.panels, me), share(layer.input.panels, me + 1), list, targets, 0, columns, k < s.after ? GELU : AS_IS, room);
            meet();
            y = output(next & 1, 0), stride = widest, inputs = columns;
        }
        for (int64_t r = 0; r < rows; ++r) list[r] = row_of(y + r * stride, inputs, qx + r * widest);
    }
    int64_t next_line() const { return net.shape.arch == WINDOW ? net.shape.layers : 0; }
};

constexpr int64_t GROUP_OF_ROWS = 96;  // together: their states stay in the cache

int64_t shared_bytes(const void* made, const Job& job) {
    return (Walk::shared_floats(*(const Net*)made, job.rows) + job.rows) * 4 + job.rows * 8 + 128;
}

void read_rows(Walk& walk, int64_t first) {
    const Job& job = walk.job;
    const Shape& s = walk.net.shape;
    walk.take(first);
    walk.meet();
    for (int64_t t = 0; t < job.steps; ++t) {
        int64_t stride;
        const float* y = walk.step(job.ids + first * job.steps + t, job.steps, t + 1 == job.steps, stride);
        if (job.y && !walk.me)
            for (int64_t r = 0; r < walk.rows; ++r) memcpy(job.y + ((first + r) * job.steps + t) * s.hidden, y + r * stride, s.hidden * 4);
        // What the others write next is not what is being copied: states alternate, and a window's lines are met before.
        if (s.arch == WINDOW) walk.meet();
    }
    walk.meet();
    walk.give(first);
}

void generate_rows(Walk& walk, int64_t first, int64_t* chosen, double* work) {
    Job& job = walk.job;
    const Shape& s = walk.net.shape;
    const int64_t panels = walk.net.output.input.panels;
    walk.take(first);
    walk.meet();
    for (int64_t t = 0; t < job.steps; ++t) {
        if (!walk.me) {
            // Only with rows that nobody else walks; the others of a team read it after the meeting.
            if (t && job.halt && walk.rows == job.rows && __atomic_load_n(job.halt, __ATOMIC_ACQUIRE)) job.done = t;
            for (int64_t r = 0; t < job.done && r < walk.rows; ++r) {
                const int64_t row = first + r;
                chosen[r] = draw(job.logits + row * s.vocab, s.vocab, job.temperature[row], job.top_k[row], job.top_p[row], job.min_p[row],
                                 job.never, job.uniforms[row * job.steps + t], job.nats + row * job.steps + t, work);
                job.drawn[row * job.steps + t] = chosen[r];
            }
        }
        walk.meet();
        if (t == job.done) break;
        int64_t stride;
        const float* y = walk.step(chosen, 1, t + 1 == job.steps, stride);
        walk.to_head(y, stride, walk.next_line());
        for (int64_t r = 0; r < walk.rows; ++r) walk.targets[r] = job.logits + (first + r) * s.vocab;
        linear(walk.net.output, walk.rows, walk.share(panels, walk.me), walk.share(panels, walk.me + 1), walk.list, walk.targets, 0, s.vocab, AS_IS, walk.room);
        walk.meet();
    }
    walk.give(first);
}

constexpr int64_t COLUMNS = 16 * 4 * LANES;  // of logits at a time: they stay in the cache

void head_rows(Walk& walk, int64_t first, float* block, double* tops, double* sums) {
    Job& job = walk.job;
    const Shape& s = walk.net.shape;
    walk.to_head(job.y + first * s.hidden, s.hidden, 0);
    for (int64_t r = 0; r < walk.rows; ++r) tops[r] = -1e300, sums[r] = 0;
    for (int64_t from = 0; from < s.vocab; from += COLUMNS) {
        const int64_t to = from + COLUMNS < s.vocab ? from + COLUMNS : s.vocab;
        for (int64_t r = 0; r < walk.rows; ++r) walk.targets[r] = job.logits ? job.logits + (first + r) * s.vocab + from : block + r * COLUMNS;
        linear(walk.net.output, walk.rows, from / (4 * LANES), up(to, 4 * LANES) / (4 * LANES), walk.list, walk.targets, from, to, AS_IS, walk.room);
        if (!job.targets) continue;
        for (int64_t r = 0; r < walk.rows; ++r) {
            const float* x = walk.targets[r];
            float top = x[0];
            for (int64_t k = 1; k < to - from; ++k) top = x[k] > top ? x[k] : top;
            double total = 0;
            int64_t k = 0;
            for (; k + LANES <= to - from; k += LANES) {
                const vf e = exp_of(load(x + k) - top);
                float part = 0;
                for (int lane = 0; lane < LANES; ++lane) part += e[lane];
                total += part;
            }
            if (k < to - from) {
                vf last = set1(-1e30f);
                for (int64_t i = k; i < to - from; ++i) last[i - k] = x[i];
                const vf e = exp_of(last - top);
                for (int64_t i = k; i < to - from; ++i) total += e[i - k];
            }
            if (top != top) total = top;  // what is not a number stays so
            if (top > tops[r]) sums[r] = sums[r] * __builtin_exp(tops[r] - top) + total, tops[r] = top;
            else sums[r] += total * __builtin_exp(top - tops[r]);
            const int64_t target = job.targets[first + r];
            if (target >= from && target < to) job.nats[first + r] = -(double)x[target - from];
        }
    }
    if (job.targets)
        for (int64_t r = 0; r < walk.rows; ++r) job.nats[first + r] += tops[r] + __builtin_log(sums[r]);
}

void work(const void* made, Job& job, int thread, int threads) {
    const Net& net = *(const Net*)made;
    const bool together = job.rows < threads && job.kind != HEAD;
    const int64_t from = together ? 0 : job.rows * thread / threads, to = together ? job.rows : job.rows * (thread + 1) / threads;
    const int64_t group = together ? job.rows : to - from < GROUP_OF_ROWS ? to - from : GROUP_OF_ROWS;
    if (!group) return;
    const int64_t shared = together ? 0 : up(Walk::shared_floats(net, group) * 4, 64), own = up(Walk::own_bytes(net, group), 64);
    const int64_t spare = job.kind == HEAD ? up(group * COLUMNS * 4, 64) + group * 16 : job.kind == GENERATE ? group * 8 + net.shape.vocab * 16 : 0;
    char* memory = (char*)allocate(shared + own + spare + 64);
    if (!memory) __atomic_store_n(&job.failed, 1, __ATOMIC_SEQ_CST);
    if (together) wait(job.barrier);
    if (__atomic_load_n(&job.failed, __ATOMIC_SEQ_CST) && together) return free(memory);
    if (!memory) return;
    char* extra = memory + shared + own;
    for (int64_t first = from; first < to; first += group) {
        const int64_t rows = to - first < group ? to - first : group;
        Walk walk(net, job, rows, together ? thread : 0, together ? threads : 1, together ? (float*)job.shared : (float*)memory, memory + shared);
        if (job.kind == READ) read_rows(walk, first);
        else if (job.kind == GENERATE) {
            int64_t* chosen = together ? (int64_t*)((char*)job.shared + up(Walk::shared_floats(net, job.rows) * 4, 64)) : (int64_t*)extra;
            generate_rows(walk, first, chosen, (double*)(extra + group * 8));
        } else head_rows(walk, first, (float*)extra, (double*)(extra + up(group * COLUMNS * 4, 64)), (double*)(extra + up(group * COLUMNS * 4, 64)) + group);
    }
    free(memory);
}

}  // namespace

#if defined(__AVX512VNNI__)
#define NAME unroll_vnni
static int supported() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni"); }
#elif LANES == 16
#define NAME unroll_avx512
static int supported() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"); }
#elif LANES == 8
#define NAME unroll_avx2
static int supported() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#elif defined(__aarch64__)
#define NAME unroll_neon
static int supported() { return 1; }  // every such processor has it
#else
#define NAME unroll_plain
static int supported() { return 1; }
#endif
#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
extern "C" const Kernels NAME = {TEXT(NAME) + 7, supported, make_net, free_net, work, shared_bytes};
