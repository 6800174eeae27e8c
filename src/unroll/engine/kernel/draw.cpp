// Draws symbols from logits, for any processor. Its reference, symbol for symbol, is unroll/engine/draw.py.
#include "engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>

// e^x as in vectors.h, but in double, since a sum over many symbols needs it: 2^n e^r with a Taylor polynomial of degree 13 on
// |r| <= ln 2 / 2, exact to about one unit in the last place. The same numbers with every C library.
static inline double exp_of(double x) {
    if (!(x >= -708)) return std::exp(x);
    const double n = std::nearbyint(x * 1.4426950408889634074);
    const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    const int64_t bits = ((int64_t)n + 1023) << 52;
    double scale;
    std::memcpy(&scale, &bits, 8);
    return p * scale;
}

// Sets p to zero but for the most probable symbols, of equals the lower ids: at most top_k of them (0: all), and as few as reach
// top_p together (1: all). `order` holds V int64.
static void filter(double* p, int64_t vocab, int64_t top_k, double top_p, int64_t* order) {
    for (int64_t k = 0; k < vocab; ++k) order[k] = k;
    const auto later = [p](int64_t a, int64_t b) { return p[a] != p[b] ? p[a] < p[b] : a > b; };
    std::make_heap(order, order + vocab, later);
    double sum = 0;
    int64_t left = vocab;  // in the heap, not yet kept
    for (int64_t kept = 0; left > 0; ++kept) {
        const double next = p[order[0]];
        sum += next;
        if ((top_k > 0 && kept >= top_k) || (top_p < 1 && sum - next >= top_p)) break;
        std::pop_heap(order, order + left--, later);
    }
    for (int64_t k = 0; k < left; ++k) p[order[k]] = 0;
}

// The symbol at `uniform` by the inverse of the cumulative distribution in id order; p need not sum to one.
static int64_t symbol_at(double uniform, const double* p, int64_t vocab, double total, int64_t best) {
    const double target = uniform * total;
    double cumulative = 0;
    int64_t last = best;  // that can be drawn, where rounding leaves the sum a hair below the target
    for (int64_t k = 0; k < vocab; ++k) {
        cumulative += p[k];
        if (p[k] > 0) last = k;
        if (cumulative > target) return k;
    }
    return last;
}

int64_t draw(const float* logits, int64_t vocab, double temperature, int64_t top_k, double top_p, double min_p, int64_t never,
             double uniform, double* nats, double* p) {
    double top = logits[0];
    for (int64_t k = 1; k < vocab; ++k) top = logits[k] > top ? logits[k] : top;
    double total = 0;
    for (int64_t k = 0; k < vocab; ++k) total += p[k] = exp_of(logits[k] - top);
    const double log_total = std::log(total);
    int64_t best = never == 0 && vocab > 1 ? 1 : 0;
    for (int64_t k = best + 1; k < vocab; ++k)
        if (k != never && logits[k] > logits[best]) best = k;
    int64_t symbol = best;
    if (temperature > 0) {
        const double peak = logits[best], sharp = temperature > 1e-100 ? temperature : 1e-100;
        double mass = 0;
        if (temperature == 1 && peak == top) {
            if (never >= 0) p[never] = 0;
            for (int64_t k = 0; k < vocab; ++k) mass += p[k];
        } else
            for (int64_t k = 0; k < vocab; ++k) mass += p[k] = k == never ? 0 : exp_of((logits[k] - peak) / sharp);
        for (int64_t k = 0; k < vocab; ++k) p[k] /= mass;
        const double least = min_p > 0 ? min_p * p[best] : 0;
        if ((top_k > 0 && top_k < vocab) || top_p < 1) filter(p, vocab, top_k, top_p, (int64_t*)(p + vocab));
        double sum = 0;
        for (int64_t k = 0; k < vocab; ++k) {
            if (p[k] < least) p[k] = 0;
            sum += p[k];
        }
        symbol = symbol_at(uniform, p, vocab, sum, best);
    }
    *nats = top + log_total - logits[symbol];
    return symbol;
}
