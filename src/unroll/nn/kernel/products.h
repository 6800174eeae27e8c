// The product of a step: some rows by packed weights, and how both are laid out for it.
//
// Weights are packed in panels of LANES columns, (words of the sum, LANES), rows in blocks of at most ROWS, (words, rows of the
// block). A sum runs over its words in order, one instruction each: so it depends on nothing but its own row and column.
#pragma once
#include "vectors.h"

namespace {

struct Blocks {  // of rows, as even as they can be
    int64_t rows, count, widest;
    explicit Blocks(int64_t rows) : rows(rows), count((rows + ROWS - 1) / ROWS), widest((rows + count - 1) / count) {}
    int64_t first(int64_t block) const { return rows * block / count; }
};

template <class E, int R, int P>
void tile(const word* w, int64_t panel, const word* x, int64_t apart, int64_t words, float* out, int64_t row, int64_t column) {
    vf sums[R][P] = {};
    for (int64_t k = 0; k < words; ++k, x += apart, w += LANES) {
        vf weights[P];
        UNROLLED for (int p = 0; p < P; ++p) weights[p] = load(w + p * panel);
        UNROLLED for (int r = 0; r < R; ++r) {
            const word number = x[r];
            UNROLLED for (int p = 0; p < P; ++p) sums[r][p] = E::dot(number, weights[p], sums[r][p]);
        }
    }
    UNROLLED for (int r = 0; r < R; ++r)
        UNROLLED for (int p = 0; p < P; ++p) store(out + r * row + p * column, sums[r][p]);
}
template <class E, int P, int R = ROWS>
void tile_of(int64_t rows, const word* w, int64_t panel, const word* x, int64_t apart, int64_t words, float* out, int64_t row, int64_t column) {
    if (rows == R) return tile<E, R, P>(w, panel, x, apart, words, out, row, column);
    if constexpr (R > 1) tile_of<E, P, R - 1>(rows, w, panel, x, apart, words, out, row, column);
}

// out[row r][panel p] = Σ x w: rows lie `row` floats apart, panels `column`.
template <class E>
void multiply(int64_t rows, const word* x, int64_t apart, int64_t panels, const word* w, int64_t words, float* out, int64_t row, int64_t column) {
    int64_t p = 0;
    for (; p + 2 <= panels; p += 2) tile_of<E, 2>(rows, w + p * words * LANES, words * LANES, x, apart, words, out + p * column, row, column);
    if (p < panels) tile_of<E, 1>(rows, w + p * words * LANES, 0, x, apart, words, out + p * column, row, column);
}

// A panel of weights w (columns, ·) whose sums run along a row: column n of the panel is row n.
template <class E>
void pack_along(const float* w, int64_t stride, int64_t words, word* panel) {
    for (int64_t n = 0; n < LANES; ++n, w += stride)
        for (int64_t k = 0; k < words; k += LANES) {
            word row[LANES];
            store(row, E::words_along(w + k * E::PER_WORD, words - k));
            for (int64_t i = 0; i < LANES && k + i < words; ++i) panel[(k + i) * LANES + n] = row[i];
        }
}
// The same for w (·, columns): sums run down.
template <class E>
void pack_down(const float* w, int64_t stride, int64_t words, word* panel) {
    for (int64_t k = 0; k < words; ++k) store(panel + k * LANES, E::words_down(w + k * E::PER_WORD * stride, stride));
}

// LANES numbers of each row of a block, `stride` numbers apart, to where products read them.
template <class E>
INLINE void pack_rows(const typename E::number* from, int64_t stride, int64_t rows, word* to, int64_t apart) {
    for (int64_t r = 0; r < rows; ++r) {
        const word* const row = (const word*)(from + r * stride);
        for (int64_t k = 0; k < LANES / E::PER_WORD; ++k) to[k * apart + r] = row[k];
    }
}

}  // namespace
