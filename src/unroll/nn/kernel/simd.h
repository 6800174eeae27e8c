// Sixteen floats at a time, and the bfloat16 that memory holds: what the kernels share.
#pragma once
#if defined(__x86_64__) && defined(__linux__)
#define UNROLL_X86
#include <cstdint>
#include <immintrin.h>
#include <unistd.h>
// Chosen by function, not by flag: the library loads on any x86-64 and is asked first whether it can run.
#define KERNEL __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16")))
#define INLINE KERNEL static inline __attribute__((always_inline))

namespace simd {

INLINE __m512 load_bf16(const uint16_t* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
}
INLINE void store_bf16(uint16_t* p, __m512 x) { _mm256_storeu_si256((__m256i*)p, (__m256i)_mm512_cvtneps_pbh(x)); }

// e^x as in engine/kernel/vectors.h, but that x / ln 2 is rounded before it is made whole: 122 of all floats differ in their last
// bits. So these stay two, since what was trained and what is sampled are to be repeated bit for bit.
INLINE __m512 exp_ps(__m512 x) {
    // Limits first: of two operands the second is returned where one is not a number, and that must stay visible.
    x = _mm512_max_ps(_mm512_set1_ps(-87.f), _mm512_min_ps(_mm512_set1_ps(87.f), x));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.f / 720);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.f));
    return _mm512_scalef_ps(p, n);
}
INLINE __m512 reciprocal(__m512 x) {  // rcp14 and one step of Newton's: 2^-27
    const __m512 r = _mm512_rcp14_ps(x);
    return _mm512_mul_ps(r, _mm512_fnmadd_ps(x, r, _mm512_set1_ps(2.f)));
}
INLINE __m512 sigmoid(__m512 x) {
    return reciprocal(_mm512_add_ps(_mm512_set1_ps(1.f), exp_ps(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}
INLINE __m512 tanh_ps(__m512 x) {  // 1 - 2 / (1 + e^2x)
    const __m512 e = exp_ps(_mm512_add_ps(x, x));
    return _mm512_fnmadd_ps(_mm512_set1_ps(2.f), reciprocal(_mm512_add_ps(_mm512_set1_ps(1.f), e)), _mm512_set1_ps(1.f));
}

}  // namespace simd
#endif
