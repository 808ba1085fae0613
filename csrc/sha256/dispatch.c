/* The one table of SHA-256 kernels: what each needs, whether it can run here, and why not.
 *
 * A new kernel is a file, a row here and a line in sources.txt. Rows stand in ascending order of measured speed, and
 * the default is the last that is ready. GB/s, one core of an AMD EPYC with SHA extensions, gcc 12 -O3, messages of
 * 64 / 100 / 1,000 / 16,384 bytes (bench/bench_kernels.py):
 *   portable 0.25 / 0.38 / 0.49 / 0.51     shani 1.6 / 2.4 / 3.0 / 3.1     (OpenSSL 3 through hashlib: 0.23 / 0.38 / 1.5 / 2.0) */
#include "sha256.h"

#include <stdatomic.h>

typedef struct kernel {
    baash_kernel_info info;
    baash_sha256_fn *function; /* NULL: not built */
} kernel;

#if defined(__x86_64__)
#define X86_64(function) function
#else
#define X86_64(function) NULL
#endif

static kernel table[] = {
    {{"portable", 0, 1, BAASH_KERNEL_UNTRIED, "not initialised"}, baash_sha256_spans_portable},
    {{"shani", BAASH_CPU_SSSE3 | BAASH_CPU_SSE41 | BAASH_CPU_SHA, 2, BAASH_KERNEL_UNTRIED, "not initialised"},
     X86_64(baash_sha256_spans_shani)},
};

enum { KERNELS = sizeof table / sizeof table[0] };

static _Atomic int chosen = 0;

static void set(kernel *k, baash_kernel_state state, const char *reason) {
    k->info.state = state;
    k->info.reason = reason;
}

int baash_sha256_init(uint32_t cpu_mask) {
    uint32_t bits = baash_cpu_bits() & cpu_mask;
    int best = -1;
    for (int i = 0; i < KERNELS; i++) {
        kernel *k = &table[i];
        if (!k->function) {
            set(k, BAASH_KERNEL_NOT_BUILT, "not built for this kind of processor");
        } else if ((k->info.cpu_bits & bits) != k->info.cpu_bits) {
            set(k, BAASH_KERNEL_CPU_CANNOT, "this CPU or operating system lacks the instructions");
        } else if (!baash_sha256_selftest(k->function)) {
            set(k, BAASH_KERNEL_FAILED, "its self-test gave a wrong hash");
        } else {
            set(k, BAASH_KERNEL_READY, "self-test passed");
            best = i;
        }
    }
    atomic_store(&chosen, best);
    return best < 0 ? BAASH_E_KERNEL : BAASH_OK;
}

int baash_sha256_info(baash_kernel_info *info, int number) {
    if (number < 0 || number >= KERNELS) {
        return BAASH_E_KERNEL;
    }
    *info = table[number].info;
    return BAASH_OK;
}

int baash_sha256_chosen(void) { return atomic_load(&chosen); }

int baash_sha256_choose(int number) {
    if (!baash_sha256_get(number)) {
        return BAASH_E_KERNEL;
    }
    if (number != BAASH_CHOSEN) {
        atomic_store(&chosen, number);
    }
    return BAASH_OK;
}

baash_sha256_fn *baash_sha256_get(int number) {
    if (number == BAASH_CHOSEN) {
        number = atomic_load(&chosen);
    }
    if (number < 0 || number >= KERNELS) {
        return NULL;
    }
    if (table[number].info.state == BAASH_KERNEL_UNTRIED) {
        return number == 0 ? table[0].function : NULL;
    }
    return table[number].info.state == BAASH_KERNEL_READY ? table[number].function : NULL;
}
