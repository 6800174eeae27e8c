// The tile registers of AMX in software, for processors without them and for sanitizers, which do not see into assembly.
// Included before a kernel (g++ -include), it takes the place of the instructions; products round as float32 does.
#define TILES_IN_SOFTWARE
#include <cstdint>
#include <cstring>
#include <immintrin.h>

namespace tiles {

constexpr int ROWS = 16, BYTES = 64;
static thread_local char tile[8][ROWS][BYTES];

static void load(int to, const void* base, long stride) {
    for (int row = 0; row < ROWS; ++row) std::memcpy(tile[to][row], (const char*)base + row * stride, BYTES);
}
static void store(int from, void* base, long stride) {
    for (int row = 0; row < ROWS; ++row) std::memcpy((char*)base + row * stride, tile[from][row], BYTES);
}
static void zero(int which) { std::memset(tile[which], 0, sizeof tile[which]); }
static float widened(uint16_t bfloat16) {
    const uint32_t bits = (uint32_t)bfloat16 << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
// to (16, 16) += a (16, 32) b (32, 16), where a row of b holds a pair of rows: b[2k][n], b[2k+1][n].
static void multiply(int to, int a, int b) {
    float left[ROWS][32], right[32][16], sum[ROWS][16];
    std::memcpy(sum, tile[to], sizeof sum);
    for (int row = 0; row < ROWS; ++row)
        for (int k = 0; k < 32; ++k) {
            uint16_t value;
            std::memcpy(&value, &tile[a][row][2 * k], 2), left[row][k] = widened(value);
            std::memcpy(&value, &tile[b][row][2 * k], 2), right[2 * row + k % 2][k / 2] = widened(value);
        }
    for (int row = 0; row < ROWS; ++row)
        for (int k = 0; k < 32; ++k)
            for (int n = 0; n < 16; ++n) sum[row][n] += left[row][k] * right[k][n];
    std::memcpy(tile[to], sum, sizeof sum);
}

}  // namespace tiles

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#define _tile_loadd(to, base, stride) tiles::load(to, base, stride)
#define _tile_stored(from, base, stride) tiles::store(from, base, stride)
#define _tile_zero(which) tiles::zero(which)
#define _tile_dpbf16ps(to, a, b) tiles::multiply(to, a, b)
#define _tile_loadconfig(config) ((void)(config))
#define _tile_release() ((void)0)
