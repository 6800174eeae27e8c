// The kernels of one instruction set: this file is compiled once for each, see hatch_build.py.
//
// Nothing here may come from a header whose code is not in the unnamed namespace (the linker would merge copies made for
// different processors).
#include "loss.h"
#include "tiles.h"

#if defined(__AVX512BF16__)
#define ROW_LOSS row_loss
#else
#define ROW_LOSS nullptr
#endif

#if defined(__x86_64__)
#define HAS(set) __builtin_cpu_supports(set)
#endif
#if LANES == 16
#define HAS_AVX512 (HAS("avx512f") && HAS("avx512bw") && HAS("avx512vl") && HAS("avx512dq"))
#endif
#if defined(__AMX_BF16__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#define NAME unroll_amx
static bool has_tiles() {
#if defined(TILES_IN_SOFTWARE)  // tests/nn/tiles.h
    return true;
#endif
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 24 & 1) || !(d >> 22 & 1)) return false;
    // Linux lends the tile registers on request: ARCH_REQ_XCOMP_PERM for XTILEDATA.
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}
static int supported() { return HAS_AVX512 && HAS("avx512bf16") && has_tiles(); }
// Tiles are 32 units wide.
static void forward_bfloat16(Lstm& q, int thread) { q.H % 32 ? forward_thread<Bfloat16>(q, thread) : forward_tiles(q, thread); }
static void backward_bfloat16(Lstm& q, int thread) { q.H % 32 ? backward_thread<Bfloat16>(q, thread) : backward_tiles(q, thread); }
#elif defined(__AVX512BF16__)
#define NAME unroll_avx512bf16
static int supported() { return HAS_AVX512 && HAS("avx512bf16"); }
constexpr auto forward_bfloat16 = forward_thread<Bfloat16>, backward_bfloat16 = backward_thread<Bfloat16>;
#elif LANES == 16
#define NAME unroll_avx512
static int supported() { return HAS_AVX512; }
constexpr std::nullptr_t forward_bfloat16 = nullptr, backward_bfloat16 = nullptr;
#elif LANES == 8
#define NAME unroll_avx2
static int supported() { return HAS("avx2") && HAS("fma"); }
constexpr std::nullptr_t forward_bfloat16 = nullptr, backward_bfloat16 = nullptr;
#else
#define NAME unroll_neon
static int supported() { return 1; }  // every such processor has it
constexpr std::nullptr_t forward_bfloat16 = nullptr, backward_bfloat16 = nullptr;
#endif
#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
extern "C" const Kernels NAME = {TEXT(NAME) + 7,
                                 supported,
                                 {forward_thread<Float32>, forward_bfloat16},
                                 {backward_thread<Float32>, backward_bfloat16},
                                 ROW_LOSS};
