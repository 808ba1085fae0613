/* SHA-256 with AVX2: eight messages side by side, for CPUs without the SHA extensions.
 *
 * Lane i of a vector holds the same word of message i. AVX2 has neither rotations nor masked loads of bytes: rotations
 * are two shifts, and a block in which a message ends is put together in memory. */
#include "sha256.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define LANES 8
#define FROM SHA256_AVX2_FROM
#define KERNEL __attribute__((target("avx2")))
#include "lanes.h"

#define V __m256i
#define INLINE KERNEL static inline __attribute__((always_inline))

#define ADD(a, b) _mm256_add_epi32(a, b)
#define XOR(a, b) _mm256_xor_si256(a, b)
#define AND(a, b) _mm256_and_si256(a, b)
#define SHIFT(x, n) _mm256_srli_epi32(x, n)
#define ROR(x, n) _mm256_or_si256(_mm256_srli_epi32(x, n), _mm256_slli_epi32(x, 32 - (n)))
#define ALL(word) _mm256_set1_epi32((int)(word))

/* One round; the caller turns the names instead of moving the values. */
#define ROUND(a, b, c, d, e, f, g, h, i)                                 \
    do {                                                                 \
        const V kw = ADD(w[(i) & 15], ALL(baash_sha256_constants[i]));   \
        const V s1 = XOR(XOR(ROR(e, 6), ROR(e, 11)), ROR(e, 25));        \
        const V s0 = XOR(XOR(ROR(a, 2), ROR(a, 13)), ROR(a, 22));        \
        const V t = ADD(ADD(h, kw), ADD(s1, XOR(g, AND(e, XOR(f, g))))); \
        d = ADD(d, t);                                                   \
        h = ADD(t, ADD(s0, XOR(AND(XOR(a, b), c), AND(a, b))));          \
    } while (0)

#define EIGHT_ROUNDS(i)                         \
    do {                                        \
        ROUND(a, b, c, d, e, f, g, h, (i) + 0); \
        ROUND(h, a, b, c, d, e, f, g, (i) + 1); \
        ROUND(g, h, a, b, c, d, e, f, (i) + 2); \
        ROUND(f, g, h, a, b, c, d, e, (i) + 3); \
        ROUND(e, f, g, h, a, b, c, d, (i) + 4); \
        ROUND(d, e, f, g, h, a, b, c, (i) + 5); \
        ROUND(c, d, e, f, g, h, a, b, (i) + 6); \
        ROUND(b, c, d, e, f, g, h, a, (i) + 7); \
    } while (0)

/* w[j] becomes the schedule word 16 on. */
#define SCHEDULE0(x) XOR(XOR(ROR(x, 7), ROR(x, 18)), SHIFT(x, 3))
#define SCHEDULE1(x) XOR(XOR(ROR(x, 17), ROR(x, 19)), SHIFT(x, 10))
#define EXTEND(j) \
    w[j] = ADD(ADD(w[j], SCHEDULE0(w[((j) + 1) & 15])), ADD(w[((j) + 9) & 15], SCHEDULE1(w[((j) + 14) & 15])))

/* Rows of 8 words become columns. */
INLINE void transpose(V r[8]) {
    V t[8];
    for (int i = 0; i < 8; i += 4) {
        const V a = _mm256_unpacklo_epi32(r[i], r[i + 1]), b = _mm256_unpackhi_epi32(r[i], r[i + 1]);
        const V c = _mm256_unpacklo_epi32(r[i + 2], r[i + 3]), d = _mm256_unpackhi_epi32(r[i + 2], r[i + 3]);
        t[i] = _mm256_unpacklo_epi64(a, c), t[i + 1] = _mm256_unpackhi_epi64(a, c);
        t[i + 2] = _mm256_unpacklo_epi64(b, d), t[i + 3] = _mm256_unpackhi_epi64(b, d);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2x128_si256(t[i], t[i + 4], 0x20);
        r[i + 4] = _mm256_permute2x128_si256(t[i], t[i + 4], 0x31);
    }
}

INLINE V big_endian(V x) {
    return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203)));
}

/* One block a lane, from blocks[i] + at. */
KERNEL static __attribute__((noinline)) void compress(lanes *l, const uint8_t *const blocks[8], uint64_t at) {
    V w[16], s[8];
    for (int j = 0; j < 16; j += 8) {
        for (int i = 0; i < 8; i++) {
            w[j + i] = big_endian(_mm256_loadu_si256((const void *)(blocks[i] + at + 4 * j)));
        }
        transpose(w + j);
    }
    for (int k = 0; k < 8; k++) {
        s[k] = _mm256_load_si256((const void *)l->state[k]);
    }
    V a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
    for (int i = 0; i < 64; i += 16) {
        EIGHT_ROUNDS(i);
        EIGHT_ROUNDS(i + 8);
        if (i < 48) {
            EXTEND(0), EXTEND(1), EXTEND(2), EXTEND(3), EXTEND(4), EXTEND(5), EXTEND(6), EXTEND(7);
            EXTEND(8), EXTEND(9), EXTEND(10), EXTEND(11), EXTEND(12), EXTEND(13), EXTEND(14), EXTEND(15);
        }
    }
    s[0] = ADD(s[0], a), s[1] = ADD(s[1], b), s[2] = ADD(s[2], c), s[3] = ADD(s[3], d);
    s[4] = ADD(s[4], e), s[5] = ADD(s[5], f), s[6] = ADD(s[6], g), s[7] = ADD(s[7], h);
    for (int k = 0; k < 8; k++) {
        _mm256_store_si256((void *)l->state[k], s[k]);
    }
}

KERNEL static void advance_whole(lanes *l, uint64_t blocks) {
    for (uint64_t at = 0; at < 64 * blocks; at += 64) {
        compress(l, l->next, at);
    }
}

KERNEL static void advance_edge(lanes *l) {
    uint8_t ends[8][64];
    const uint8_t *blocks[8];
    for (int i = 0; i < 8; i++) {
        const int64_t left = l->left[i];
        blocks[i] = l->next[i];
        if (left < 64) {
            memset(ends[i], 0, 64);
            if (left > 0) {
                memcpy(ends[i], l->next[i], (size_t)left);
            }
            if (left >= 0) {
                ends[i][left] = 0x80;
            }
            if (left < 56) {
                store64_be(ends[i] + 56, l->length[i] << 3);
            }
            blocks[i] = ends[i];
        }
    }
    compress(l, blocks, 0);
}

KERNEL static inline void restart(lanes *l, uint64_t fresh) {
    for (; fresh; fresh &= fresh - 1) {
        for (int k = 0; k < 8; k++) {
            l->state[k][__builtin_ctzll(fresh)] = baash_sha256_initial[k];
        }
    }
}

KERNEL static inline uint64_t ended(const lanes *l) {
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++) {
        bits |= (uint64_t)(l->left[i] < -8) << i;
    }
    return bits;
}

KERNEL static inline void emit(lanes *l, uint64_t through) {
    for (; through; through &= through - 1) {
        const int i = __builtin_ctzll(through);
        for (int k = 0; k < 8; k++) {
            store32_be(l->out[i] + 4 * k, l->state[k][i]);
        }
    }
}

KERNEL size_t baash_sha256_avx2(uint8_t *out, baash_sha256_begun *begun, const uint8_t *data, const uint64_t *starts,
                                const uint64_t *lengths, size_t count) {
    return run_lanes(out, begun, data, starts, lengths, count);
}

#endif
