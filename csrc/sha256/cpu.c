/* What the CPU can do and the operating system allows: an instruction set whose registers are not saved at a context
 * switch must not be used, whatever CPUID says of it. */
#include "sha256.h"

#if defined(__x86_64__)
#include <cpuid.h>

static uint64_t enabled_registers(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

uint32_t baash_cpu_bits(void) {
    uint32_t a, b, c, d, bits = 0;
    uint64_t registers = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) {
        return 0;
    }
    bits |= (c >> 9 & 1) ? BAASH_CPU_SSSE3 : 0;
    bits |= (c >> 19 & 1) ? BAASH_CPU_SSE41 : 0;
    const int popcnt = c >> 23 & 1;
    if (c >> 27 & 1) { /* OSXSAVE: xgetbv exists */
        registers = enabled_registers();
    }
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        return bits;
    }
    bits |= (b >> 29 & 1) ? BAASH_CPU_SHA : 0; /* works on XMM, which every x86-64 system saves */
    if ((registers & 0x06) == 0x06) { /* XMM, YMM */
        uint32_t more_a = 0, more_b, more_c = 0, more_d;
        (void)__get_cpuid(0x80000001, &more_a, &more_b, &more_c, &more_d);
        int bmi = (b >> 3 & 1) && (b >> 8 & 1) && (more_c >> 5 & 1) && (popcnt); /* BMI1, BMI2, LZCNT */
        bits |= (b >> 5 & 1) && bmi ? BAASH_CPU_AVX2 : 0;
    }
    if ((registers & 0xE6) == 0xE6) { /* and mask registers, ZMM */
        uint32_t needed = UINT32_C(1) << 16 | UINT32_C(1) << 30 | UINT32_C(1) << 31; /* F, BW, VL */
        bits |= (b & needed) == needed ? BAASH_CPU_AVX512 : 0;
    }
    return bits;
}

#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

uint32_t baash_cpu_bits(void) { return (getauxval(AT_HWCAP) >> 6 & 1) ? BAASH_CPU_ARM_SHA2 : 0; } /* HWCAP_SHA2 */

#else

uint32_t baash_cpu_bits(void) { return 0; }

#endif
