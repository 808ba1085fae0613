/* The one table of SHA-256 kernels: what each needs, whether it can run here, and why not; and which runs for which
 * batch.
 *
 * A new kernel is a file, a row here and a line in sources.txt. Rows stand in ascending order of measured speed, and
 * the default is the last that is ready. A kernel with many lanes is slow on few messages: with less than `from` of
 * them, and for what is left at the end of a batch, the default asks the best kernel that takes them one by one, its
 * partner. A kernel asked for by name does everything itself.
 * What was measured, and the crossover points: docs/performance.md. */
#include "sha256.h"

#include <stdatomic.h>

typedef struct kernel {
    baash_kernel_info info;
    baash_sha256_fn *hash; /* NULL: not built */
    baash_sha256_finish_fn *finish; /* NULL: it takes no single messages */
    baash_sha256_nodes_fn *nodes; /* NULL: as messages of 65 bytes */
    size_t from;
} kernel;

#if defined(__x86_64__)
#define X86_64(function) baash_sha256_##function
#else
#define X86_64(function) NULL
#endif
#if defined(__aarch64__)
#define AARCH64(function) baash_sha256_##function
#else
#define AARCH64(function) NULL
#endif

enum {
    SHANI = BAASH_CPU_SSSE3 | BAASH_CPU_SSE41 | BAASH_CPU_SHA,
    AVX512 = BAASH_CPU_AVX2 | BAASH_CPU_AVX512, /* and, with them, BMI */
};

static kernel table[] = {
    {{"portable", 0, 1, BAASH_KERNEL_UNTRIED, "not initialised"},
     baash_sha256_portable,
     baash_sha256_finish_portable,
     NULL,
     0},
    {{"avx2", BAASH_CPU_AVX2, 8, BAASH_KERNEL_UNTRIED, "not initialised"}, X86_64(avx2), NULL, NULL, SHA256_AVX2_FROM},
    {{"armv8", BAASH_CPU_ARM_SHA2, 2, BAASH_KERNEL_UNTRIED, "not initialised"},
     AARCH64(armv8),
     AARCH64(finish_armv8),
     NULL,
     0},
    {{"shani", SHANI, 2, BAASH_KERNEL_UNTRIED, "not initialised"}, X86_64(shani), X86_64(finish_shani), NULL, 0},
    {{"avx512", AVX512, 32, BAASH_KERNEL_UNTRIED, "not initialised"},
     X86_64(avx512),
     NULL,
     X86_64(nodes_avx512),
     SHA256_AVX512_FROM},
};

enum { KERNELS = sizeof table / sizeof table[0] };

static _Atomic int chosen = 0, partner = -1;

static void set(kernel *k, baash_kernel_state state, const char *reason) {
    k->info.state = (int)state;
    k->info.reason = reason;
}

int baash_sha256_init(uint32_t cpu_mask) {
    uint32_t bits = baash_cpu_bits() & cpu_mask;
    int best = -1, single = -1;
    baash_sha256_settle();
    for (int i = 0; i < KERNELS; i++) {
        kernel *k = &table[i];
        if (!k->hash) {
            set(k, BAASH_KERNEL_NOT_BUILT, "not built for this kind of processor");
        } else if ((k->info.cpu_bits & bits) != k->info.cpu_bits) {
            set(k, BAASH_KERNEL_CPU_CANNOT, "this CPU or operating system lacks the instructions");
        } else if (!baash_sha256_selftest(k->hash, single < 0 ? k->finish : table[single].finish, k->nodes) ||
                   (k->finish && !baash_sha256_selftest(k->hash, k->finish, NULL))) {
            set(k, BAASH_KERNEL_FAILED, "its self-test gave a wrong hash");
        } else {
            set(k, BAASH_KERNEL_READY, "self-test passed");
            best = i;
            single = k->finish ? i : single;
        }
    }
    atomic_store(&chosen, best);
    atomic_store(&partner, best == single ? -1 : single);
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

int baash_sha256_partner(void) { return atomic_load(&partner); }

int baash_sha256_choose(int number) {
    if (!baash_sha256_usable(number)) {
        return BAASH_E_KERNEL;
    }
    if (number != BAASH_CHOSEN) {
        atomic_store(&chosen, number);
        atomic_store(&partner, -1);
    }
    return BAASH_OK;
}

int baash_sha256_usable(int number) {
    number = number == BAASH_CHOSEN ? atomic_load(&chosen) : number;
    if (number < 0 || number >= KERNELS) {
        return 0;
    }
    return table[number].info.state == BAASH_KERNEL_READY || number == 0; /* the portable one needs no init */
}

void baash_sha256_hash(uint8_t *out, const uint8_t *data, const uint64_t *starts, const uint64_t *lengths, size_t count,
                       int number) {
    static const uint8_t nothing[1];
    const kernel *k = &table[number == BAASH_CHOSEN ? atomic_load(&chosen) : number], *other = NULL;
    data = data ? data : nothing;
    if (number == BAASH_CHOSEN && atomic_load(&partner) >= 0) {
        other = &table[atomic_load(&partner)];
    }
    if (!other) {
        k->hash(out, NULL, data, starts, lengths, count);
    } else if (count < k->from) {
        other->hash(out, NULL, data, starts, lengths, count);
    } else {
        baash_sha256_begun begun[SHA256_LANES_MAX];
        other->finish(begun, k->hash(out, begun, data, starts, lengths, count));
    }
}

enum { NODE_BYTES = 65, NODES_CHUNK = 128 };

void baash_sha256_nodes(uint8_t *const *to, const uint8_t *const *from, size_t count, int number) {
    const kernel *k = &table[number == BAASH_CHOSEN ? atomic_load(&chosen) : number];
    size_t done = 0;
    if (k->nodes && (count >= k->from || number != BAASH_CHOSEN)) {
        done = number == BAASH_CHOSEN && count % SHA256_LANES_MAX < k->from ? count - count % SHA256_LANES_MAX : count;
        k->nodes(to, from, done);
    }
    while (done < count) {
        uint8_t messages[NODES_CHUNK * NODE_BYTES], hashes[NODES_CHUNK * 32];
        uint64_t starts[NODES_CHUNK], lengths[NODES_CHUNK];
        size_t n = count - done < NODES_CHUNK ? count - done : NODES_CHUNK;
        for (size_t i = 0; i < n; i++) {
            messages[NODE_BYTES * i] = 0x01;
            memcpy(messages + NODE_BYTES * i + 1, from[done + i], 64);
            starts[i] = NODE_BYTES * i, lengths[i] = NODE_BYTES;
        }
        baash_sha256_hash(hashes, messages, starts, lengths, n, number);
        for (size_t i = 0; i < n; i++) {
            memcpy(to[done + i], hashes + 32 * i, 32);
        }
        done += n;
    }
}
