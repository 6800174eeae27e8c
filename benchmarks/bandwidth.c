// Sums an array of floats again and again, as fast as one core reads: what benchmarks/generation.py measures memory with.
#include <stdint.h>

typedef float v16 __attribute__((vector_size(64), aligned(4), may_alias));

float read_all(const float* p, int64_t n, int64_t times) {
    v16 s[8] = {};
    for (int64_t t = 0; t < times; ++t) {
        for (int64_t k = 0; k + 128 <= n; k += 128)
            for (int j = 0; j < 8; ++j) s[j] += *(const v16*)(p + k + 16 * j);
        __asm__ volatile("" ::: "memory");
    }
    v16 all = s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
    float sum = 0;
    for (int k = 0; k < 16; ++k) sum += all[k];
    return sum;
}
