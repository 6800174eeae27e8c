// The cross-entropy of a softmax over many symbols and its gradient in one reading of the logits.
//   nats = ln sum_v exp(z_v) - z_target        d nats / d z_v = softmax(z)_v - [v = target]
// A row of logits stays in the first cache for the three passes; no array of V floats a row is ever written.
#pragma once
#include "vectors.h"
#if defined(__AVX512BF16__)

namespace {

INLINE __mmask16 left(int64_t v, int64_t V) { return V - v >= 16 ? 0xffff : (1u << (V - v)) - 1; }
INLINE vf logits_at(const uint16_t* z, int64_t v, int64_t V) {  // beyond the last: so low that exp gives 0
    const __mmask16 mask = left(v, V);
    const __m512i bits = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, z + v)), 16);
    return (vf)_mm512_mask_blend_ps(mask, _mm512_set1_ps(-3e38f), _mm512_castsi512_ps(bits));
}

void row_loss(int64_t V, const uint16_t* z, int64_t target, float scale, float* nats, uint16_t* dz) {
    __m512 most = _mm512_set1_ps(-3e38f);
    for (int64_t v = 0; v < V; v += 16) most = _mm512_max_ps(most, (__m512)logits_at(z, v, V));
    const float top = _mm512_reduce_max_ps(most);
    __m512 sums = _mm512_setzero_ps();
    for (int64_t v = 0; v < V; v += 16)
        sums = _mm512_mask_add_ps(sums, left(v, V), sums, (__m512)exp_of(logits_at(z, v, V) - top));
    const float sum = _mm512_reduce_add_ps(sums), share = scale / sum;
    for (int64_t v = 0; v < V; v += 16) {
        const vf p = exp_of(logits_at(z, v, V) - top) * share;
        _mm256_mask_storeu_epi16(dz + v, left(v, V), (__m256i)_mm512_cvtneps_pbh((__m512)p));
    }
    const auto float_of = [](uint16_t bits) { const uint32_t wide = (uint32_t)bits << 16; float x; __builtin_memcpy(&x, &wide, 4); return x; };
    const float below = float_of(z[target]) - top;
    *nats = __builtin_logf(sum) - below;
    const float d = (__builtin_expf(below) / sum - 1.f) * scale;
    uint32_t bits;
    __builtin_memcpy(&bits, &d, 4);
    dz[target] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // to the nearest, ties to even
}

}  // namespace
#endif
