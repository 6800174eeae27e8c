// The same recurrence where the processor multiplies tiles of 16 rows by 32 bfloat16 (AMX).
#pragma once
#include "lstm.h"
#if defined(__AMX_BF16__)

namespace {

constexpr int64_t TILE = 256;  // words of a tile: 16 rows of pairs

struct alignas(64) TileConfig {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Weights lie as elsewhere, but a panel's gates alternate: [unit block of 16][k block of 32][gate], so that a step reads forwards.
void pack_forward_tiles(const float* w, int64_t H, word* out, int64_t from, int64_t to) {
    for (int64_t j = from; j < to; j += 16)
        for (int64_t gate = 0; gate < 4; ++gate)
            for (int64_t k = 0; k < H; k += 32)
                pack_along<Bfloat16>(w + (gate * H + j) * H + k, H, 16, out + ((j / 16 * (H / 32) + k / 32) * 4 + gate) * TILE);
}

void forward_tiles(Lstm& q, int thread) {
    const int64_t T = q.T, B = q.B, H = q.H, K = H / 32;
    const Share own(q, 16, thread);
    const int64_t from = own.from * 16, to = own.to * 16;
    TileConfig config;
    _tile_loadconfig(&config);
    pack_forward_tiles(q.w, H, q.scratch, from, to);
    alignas(64) float a[8][256];
    for (int64_t t = 0; t < T; ++t) {
        const uint16_t* h = (const uint16_t*)q.h + t * B * H;
        for (int64_t j = from; j < to; j += 16) {
            const word* w = q.scratch + (j / 16) * K * 4 * TILE;
            int64_t row = 0;
            for (; row + 16 < B; row += 32) {
                for (int64_t two = 0; two < 4; two += 2) {
                    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
                    for (int64_t k = 0; k < K; ++k) {
                        _tile_loadd(4, h + row * H + k * 32, H * 2);
                        _tile_loadd(5, h + (row + 16) * H + k * 32, H * 2);
                        _tile_loadd(6, w + (k * 4 + two) * TILE, 64);
                        _tile_loadd(7, w + (k * 4 + two + 1) * TILE, 64);
                        _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
                    }
                    _tile_stored(0, a[two], 64); _tile_stored(1, a[two + 1], 64);
                    _tile_stored(2, a[4 + two], 64); _tile_stored(3, a[5 + two], 64);
                }
                for (int64_t r = 0; r < 16; ++r) forward_cells<Bfloat16>(q, t, row + r, j, a[0] + r * 16, 256);
                for (int64_t r = 16; r < 32 && row + r < B; ++r) forward_cells<Bfloat16>(q, t, row + r, j, a[4] + (r - 16) * 16, 256);
            }
            if (row < B) {
                _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
                for (int64_t k = 0; k < K; ++k) {
                    _tile_loadd(4, h + row * H + k * 32, H * 2);
                    const word* tile = w + k * 4 * TILE;
                    _tile_loadd(5, tile, 64); _tile_dpbf16ps(0, 4, 5);
                    _tile_loadd(6, tile + TILE, 64); _tile_dpbf16ps(1, 4, 6);
                    _tile_loadd(7, tile + 2 * TILE, 64); _tile_dpbf16ps(2, 4, 7);
                    _tile_loadd(5, tile + 3 * TILE, 64); _tile_dpbf16ps(3, 4, 5);
                }
                _tile_stored(0, a[0], 64); _tile_stored(1, a[1], 64); _tile_stored(2, a[2], 64); _tile_stored(3, a[3], 64);
                for (int64_t r = 0; r < 16 && row + r < B; ++r) forward_cells<Bfloat16>(q, t, row + r, j, a[0] + r * 16, 256);
            }
        }
        wait(q.barrier);
    }
    _tile_release();
}

void backward_tiles(Lstm& q, int thread) {
    const int64_t T = q.T, B = q.B, H = q.H, K = 4 * H / 32;
    const Share own(q, 16, thread);
    const int64_t from = own.from * 16, to = own.to * 16;
    TileConfig config;
    _tile_loadconfig(&config);
    const int64_t column = K * TILE;
    for (int64_t j = from; j < to; j += 16) pack_down<Bfloat16>(q.w + j, H, K * 16, q.scratch + j / 16 * column);
    for (int64_t t = T - 1; t >= 0; --t) {
        for (int64_t row = 0; row < B; ++row)
            for (int64_t j = from; j < to; j += 16) backward_cells<Bfloat16>(q, t, row, j);
        wait(q.barrier);
        const uint16_t* dz = (const uint16_t*)q.dz + t * B * 4 * H;
        for (int64_t j = from; j < to;) {
            const word* w = q.scratch + (j / 16) * column;
            const int64_t wide = (to - j) / 16 >= 4 ? 4 : (to - j) / 16 >= 2 ? 2 : 1;
            int64_t row = 0;
            if (wide >= 2) {
                for (; row + 16 < B; row += 32)
                    for (int64_t two = 0; two < wide; two += 2) {
                        _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
                        const word* v = w + two * column;
                        for (int64_t k = 0; k < K; ++k) {
                            _tile_loadd(4, dz + row * 4 * H + k * 32, H * 8);
                            _tile_loadd(5, dz + (row + 16) * 4 * H + k * 32, H * 8);
                            _tile_loadd(6, v + k * TILE, 64);
                            _tile_loadd(7, v + column + k * TILE, 64);
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
                        _tile_loadd(5, w + k * TILE, 64); _tile_dpbf16ps(0, 4, 5);
                        _tile_loadd(6, w + column + k * TILE, 64); _tile_dpbf16ps(1, 4, 6);
                        _tile_loadd(7, w + 2 * column + k * TILE, 64); _tile_dpbf16ps(2, 4, 7);
                        _tile_loadd(5, w + 3 * column + k * TILE, 64); _tile_dpbf16ps(3, 4, 5);
                    }
                    _tile_stored(0, out, H * 4); _tile_stored(1, out + 16, H * 4);
                    _tile_stored(2, out + 32, H * 4); _tile_stored(3, out + 48, H * 4);
                } else {
                    for (int64_t one = 0; one < wide; ++one) {
                        _tile_zero(0);
                        for (int64_t k = 0; k < K; ++k) {
                            _tile_loadd(4, left + k * 32, H * 8);
                            _tile_loadd(5, w + one * column + k * TILE, 64);
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
#endif
