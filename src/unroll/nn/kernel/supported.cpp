// Whether this processor and system can run the kernels.
#include "simd.h"
#ifdef UNROLL_X86
#include <cpuid.h>
#include <sys/syscall.h>

extern "C" int unroll_supported() {
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    const bool amx = (d >> 24 & 1) && (d >> 22 & 1), avx512 = (b >> 16 & 1) && (b >> 30 & 1) && (b >> 31 & 1) && (b >> 17 & 1);
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return 0;
    const bool bf16 = a >> 5 & 1;
    if (!(amx && avx512 && bf16)) return 0;
    // Linux lends the tile registers on request: ARCH_REQ_XCOMP_PERM for XTILEDATA.
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}

#else
extern "C" int unroll_supported() { return 0; }
#endif
