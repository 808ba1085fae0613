/* Between the dispatcher and the kernels. Not public. */
#ifndef BAASH_SHA256_H
#define BAASH_SHA256_H

#include "../baash.h"
#include "../bytes.h"

/* Hashes `count` spans of `data`, already checked to lie inside their buffer. */
typedef void baash_sha256_fn(uint8_t *out, const uint8_t *data, const uint64_t *starts, const uint64_t *lengths,
                             size_t count);

baash_sha256_fn baash_sha256_spans_portable;
#if defined(__x86_64__)
baash_sha256_fn baash_sha256_spans_shani;
#endif

extern const uint32_t baash_sha256_initial[8];
extern const uint32_t baash_sha256_constants[64];

/* BAASH_CPU_* that this CPU has and the operating system saves registers for. */
uint32_t baash_cpu_bits(void);

/* 1 when `kernel` gives the right hashes over block counts 0 … 4, every padding edge and 16 alignments. */
int baash_sha256_selftest(baash_sha256_fn *kernel);

/* The kernel's function, or NULL when it cannot run. */
baash_sha256_fn *baash_sha256_get(int kernel);

/* How many spans the callers of kernels prepare at a time, on the stack. */
enum { SHA256_CHUNK = 256 };

/* The last one or two blocks of a message: its last `length % 64` bytes, 0x80, zeros, the bit length. */
static inline size_t baash_sha256_tail(uint8_t tail[128], const uint8_t *message, uint64_t length) {
    size_t rest = (size_t)(length & 63);
    size_t blocks = rest < 56 ? 1 : 2;
    memset(tail, 0, 64 * blocks);
    if (rest) {
        memcpy(tail, message + (length - rest), rest);
    }
    tail[rest] = 0x80;
    store64_be(tail + 64 * blocks - 8, length << 3);
    return blocks;
}

#endif
