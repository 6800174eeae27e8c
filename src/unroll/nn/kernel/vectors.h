// The numbers of one instruction set, LANES at a time, their exponentials, and how memory holds them: as float or bfloat16.
// In the unnamed namespace, as is all that steps.cpp includes: each instruction set has its own.
#pragma once
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

// A product's sums stay in registers: ROWS rows by two vectors.
#if defined(__AVX512F__)
#define LANES 16
#define ROWS 12
#elif defined(__AVX2__)
#define LANES 8
#define ROWS 6
#else
#define LANES 4
#define ROWS 12
#endif
#define INLINE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 16")

namespace {

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef float vf_any __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint32_t word __attribute__((may_alias));  // a float, or a pair of bfloat16

INLINE vf load(const void* p) { return *(const vf_any*)p; }
INLINE void store(void* p, vf x) { *(vf_any*)p = x; }
INLINE vf set1(float x) { return vf{} + x; }
INLINE vf fma(vf a, vf b, vf c) { return a * b + c; }  // contracted by the compiler: -ffp-contract=fast

// e^x as in engine/kernel/vectors.h: 2^n e^r with n the nearest whole number to x/ln 2. What is not a number stays so.
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
INLINE vf reciprocal(vf x) {
#if LANES == 16  // to 14 bits, and one step of Newton's: 2^-27
    const vf r = (vf)_mm512_rcp14_ps((__m512)x);
    return r * (2.f - x * r);
#else
    return 1.f / x;
#endif
}
INLINE vf sigmoid(vf x) { return reciprocal(1.f + exp_of(-x)); }
INLINE vf tanh_of(vf x) { return 1.f - 2.f * reciprocal(1.f + exp_of(x + x)); }

// Numbers in memory as float: a word holds one.
struct Float32 {
    typedef float number;
    static constexpr int64_t PER_WORD = 1;
    INLINE vf load_from(const number* p) { return load(p); }
    INLINE void store_to(number* p, vf x) { store(p, x); }
    INLINE vf dot(word a, vf w, vf sum) { return fma(set1((float&)a), w, sum); }
    // Words of two adjacent rows of weights, LANES columns; the first LANES of so many words of a row, or all, half as many.
    INLINE vf words_down(const float* w, int64_t) { return load(w); }
    INLINE vf words_along(const float* w, int64_t) { return load(w); }
};

#if defined(__AVX512BF16__)
// As bfloat16, rounded to the nearest: a word holds two, whose products with two others are summed in float.
struct Bfloat16 {
    typedef uint16_t number;
    static constexpr int64_t PER_WORD = 2;
    INLINE vf load_from(const number* p) {
        return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16);
    }
    INLINE void store_to(number* p, vf x) { _mm256_storeu_si256((__m256i*)p, (__m256i)_mm512_cvtneps_pbh((__m512)x)); }
    INLINE vf dot(word a, vf w, vf sum) {
        return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(a), (__m512bh)w);
    }
    INLINE vf words_down(const float* w, int64_t next) {
        const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(w)));
        const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(w + next)));
        return (vf)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
    }
    INLINE vf words_along(const float* w, int64_t words) {
        const __m512 high = words < LANES ? _mm512_setzero_ps() : _mm512_loadu_ps(w + 16);
        return (vf)_mm512_cvtne2ps_pbh(high, _mm512_loadu_ps(w));
    }
};
#endif

}  // namespace
