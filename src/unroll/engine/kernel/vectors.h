// The numbers of one instruction set, LANES at a time, and their exponentials. In the unnamed namespace, as is all that
// steps.cpp includes: each instruction set has its own.
#pragma once
#include <cstdint>

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
#define THREE_BYTES 1  // there is an instruction that spreads bytes
#else
#define THREE_BYTES 0
#endif
#define INLINE static inline __attribute__((always_inline))
#define APART __attribute__((noinline))  // registers are allotted for each function separately
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

}  // namespace
