/* Between the dispatcher and the kernels. Not public.
 *
 * A kernel hashes whole batches. One that runs many messages side by side does well while all its lanes are busy; when
 * only a few messages are left it may hand them over, begun as they are, to a kernel that is faster on few (`finish`).
 * It is the dispatcher that brings the two together: kernels do not know of each other. */
#ifndef BAASH_SHA256_H
#define BAASH_SHA256_H

#include "../baash.h"
#include "../bytes.h"

/* A message that is under way. */
typedef struct baash_sha256_begun {
    uint32_t state[8];
    const uint8_t *next; /* bytes to come */
    int64_t left; /* how many; below 0: the 0x80 behind them is hashed already */
    uint64_t length; /* of the whole message, in bytes */
    uint8_t *out;
} baash_sha256_begun;

enum { SHA256_LANES_MAX = 32 };

/* With fewer messages than this a kernel that takes them one by one is faster: measured, docs/performance.md. */
enum { SHA256_AVX2_FROM = 4, SHA256_AVX512_FROM = 15 };

/* Hashes `count` spans of `data`, which is not NULL, already checked to lie inside their buffer. Where begun[SHA256_LANES_MAX] is given,
 * messages may be left in it: so many are returned. With NULL all are hashed, and 0 is returned. */
typedef size_t baash_sha256_fn(uint8_t *out, baash_sha256_begun *begun, const uint8_t *data, const uint64_t *starts,
                               const uint64_t *lengths, size_t count);
/* Brings begun messages to their end. */
typedef void baash_sha256_finish_fn(const baash_sha256_begun *begun, size_t count);
/* to[i][32] = SHA-256(0x01 ‖ from[i][64]): the inner nodes of RFC 9162. Pairs are hashed in order and a `to` may lie in
 * a `from` of the same or an earlier number. */
typedef void baash_sha256_nodes_fn(uint8_t *const *to, const uint8_t *const *from, size_t count);

baash_sha256_fn baash_sha256_portable;
baash_sha256_finish_fn baash_sha256_finish_portable;
#if defined(__x86_64__)
baash_sha256_fn baash_sha256_shani, baash_sha256_avx2, baash_sha256_avx512;
baash_sha256_finish_fn baash_sha256_finish_shani;
baash_sha256_nodes_fn baash_sha256_nodes_avx512;
#elif defined(__aarch64__)
baash_sha256_fn baash_sha256_armv8;
baash_sha256_finish_fn baash_sha256_finish_armv8;
#endif

extern const uint32_t baash_sha256_initial[8];
extern const uint32_t baash_sha256_constants[64];

/* BAASH_CPU_* that this CPU has and the operating system saves registers for. */
uint32_t baash_cpu_bits(void);

/* 1 when the kernel gives the right hashes over block counts 0 … 4, every padding edge and 16 alignments, alone, and
 * with `finish` behind it; `nodes` may be NULL. */
int baash_sha256_selftest(baash_sha256_fn *hash, baash_sha256_finish_fn *finish, baash_sha256_nodes_fn *nodes);

/* 1 when `kernel` can run. */
int baash_sha256_usable(int kernel);
/* Hashes spans that were checked, by a kernel that can run. */
void baash_sha256_hash(uint8_t *out, const uint8_t *data, const uint64_t *starts, const uint64_t *lengths, size_t count,
                       int kernel);
/* Messages that were checked: spans, or (lengths NULL) what lies between count + 1 ascending offsets. */
typedef struct baash_sha256_messages {
    const uint8_t *data;
    const uint64_t *starts, *lengths;
    size_t count;
} baash_sha256_messages;

/* Hashes them in up to so many threads; csrc/sha256/shares.c. */
void baash_sha256_share_out(uint8_t *out, const baash_sha256_messages *messages, int kernel, int threads);
/* This process is the one that may use threads, if no other was before. */
void baash_sha256_settle(void);
/* See baash_sha256_nodes_fn. */
void baash_sha256_nodes(uint8_t *const *to, const uint8_t *const *from, size_t count, int kernel);

/* How many spans the callers of kernels prepare at a time, on the stack. */
enum { SHA256_CHUNK = 1024 };

/* The last one or two blocks of a message: the `left` < 64 bytes at `next`, 0x80, zeros, the bit length. */
static inline size_t baash_sha256_tail(uint8_t tail[128], const uint8_t *next, int64_t left, uint64_t length) {
    size_t blocks = left < 56 ? 1 : 2;
    memset(tail, 0, 64 * blocks);
    if (left > 0) {
        memcpy(tail, next, (size_t)left);
    }
    if (left >= 0) {
        tail[left] = 0x80;
    }
    store64_be(tail + 64 * blocks - 8, length << 3);
    return blocks;
}

/* Message `i` of a batch before its first block. */
static inline baash_sha256_begun baash_sha256_begin(uint8_t *out, const uint8_t *data, const uint64_t *starts,
                                                    const uint64_t *lengths, size_t i) {
    baash_sha256_begun b;
    memcpy(b.state, baash_sha256_initial, sizeof b.state);
    b.next = data + starts[i];
    b.left = (int64_t)lengths[i];
    b.length = lengths[i];
    b.out = out + 32 * i;
    return b;
}

#endif
