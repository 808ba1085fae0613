/* SHA-256 with the SHA2 instructions of ARMv8, two messages interleaved.
 *
 * As with Intel's extensions a round waits for the one before it, so a second message fills the gaps. Messages are taken
 * in pairs: what both have in whole blocks runs together, the rest alone. */
#include "sha256.h"

#if defined(__aarch64__)
#if defined(__clang__) && __clang_major__ < 16 && !defined(__ARM_FEATURE_SHA2)
#define __ARM_FEATURE_SHA2 1 /* or its header hides what an attribute allows (llvm-project issue 56480) */
#endif
#include <arm_neon.h>

#if defined(__clang__)
#define ARMV8 __attribute__((target("sha2")))
#else
#define ARMV8 __attribute__((target("+crypto")))
#endif

typedef struct halves {
    uint32x4_t abcd, efgh;
} halves;

ARMV8 static inline uint32x4_t load_words(const uint8_t *p) { return vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p))); }

/* Rounds 4 i … 4 i + 3, and from the schedule words of four steps those that come next. */
#define STEP(s, m0, i)                                                                    \
    do {                                                                                  \
        const uint32x4_t kw = vaddq_u32(m0, vld1q_u32(baash_sha256_constants + 4 * (i))); \
        const uint32x4_t abcd = s.abcd;                                                   \
        s.abcd = vsha256hq_u32(s.abcd, s.efgh, kw);                                       \
        s.efgh = vsha256h2q_u32(s.efgh, abcd, kw);                                        \
    } while (0)
#define EXTEND(m0, m1, m2, m3) m0 = vsha256su1q_u32(vsha256su0q_u32(m0, m1), m2, m3)

/* One block of each of `n` messages (1 or 2; the loops over lanes are unrolled). */
#define BLOCK(n)                                                                              \
    do {                                                                                      \
        halves before[n];                                                                     \
        uint32x4_t m[n][4];                                                                   \
        for (int x = 0; x < (n); x++) {                                                       \
            before[x] = s[x];                                                                 \
            for (int j = 0; j < 4; j++) {                                                     \
                m[x][j] = load_words(p[x] + 16 * j);                                          \
            }                                                                                 \
        }                                                                                     \
        for (int i = 0; i < 16; i += 4) {                                                     \
            for (int j = 0; j < 4; j++) {                                                     \
                for (int x = 0; x < (n); x++) {                                               \
                    STEP(s[x], m[x][j], i + j);                                               \
                    EXTEND(m[x][j], m[x][(j + 1) & 3], m[x][(j + 2) & 3], m[x][(j + 3) & 3]); \
                }                                                                             \
            }                                                                                 \
        }                                                                                     \
        for (int x = 0; x < (n); x++) {                                                       \
            s[x].abcd = vaddq_u32(s[x].abcd, before[x].abcd);                                 \
            s[x].efgh = vaddq_u32(s[x].efgh, before[x].efgh);                                 \
            p[x] += 64;                                                                       \
        }                                                                                     \
    } while (0)

ARMV8 static void compress_two(halves *s, const uint8_t **p, uint64_t blocks) {
    for (; blocks; blocks--) {
        BLOCK(2);
    }
}

ARMV8 static void compress_one(halves *s, const uint8_t **p, uint64_t blocks) {
    for (; blocks; blocks--) {
        BLOCK(1);
    }
}

/* One or two messages from where they are to their end. */
ARMV8 static void finish_pair(const baash_sha256_begun *b, int n) {
    halves s[2];
    const uint8_t *p[2];
    uint64_t whole[2] = {0, 0};
    for (int x = 0; x < n; x++) {
        s[x] = (halves){vld1q_u32(b[x].state), vld1q_u32(b[x].state + 4)};
        p[x] = b[x].next;
        whole[x] = b[x].left > 0 ? (uint64_t)b[x].left >> 6 : 0;
    }
    const uint64_t both = whole[0] < whole[1] ? whole[0] : whole[1];
    compress_two(s, p, both);
    for (int x = 0; x < n; x++) {
        uint8_t tail[128];
        const uint8_t *t = tail;
        compress_one(s + x, p + x, whole[x] - both);
        compress_one(s + x, &t, baash_sha256_tail(tail, p[x], b[x].left - 64 * (int64_t)whole[x], b[x].length));
        vst1q_u8(b[x].out, vrev32q_u8(vreinterpretq_u8_u32(s[x].abcd)));
        vst1q_u8(b[x].out + 16, vrev32q_u8(vreinterpretq_u8_u32(s[x].efgh)));
    }
}

ARMV8 void baash_sha256_finish_armv8(const baash_sha256_begun *begun, size_t count) {
    for (size_t i = 0; i < count; i += 2) {
        finish_pair(begun + i, count - i < 2 ? 1 : 2);
    }
}

ARMV8 size_t baash_sha256_armv8(uint8_t *out, baash_sha256_begun *begun, const uint8_t *data, const uint64_t *starts,
                                const uint64_t *lengths, size_t count) {
    (void)begun;
    for (size_t i = 0; i < count; i += 2) {
        int n = count - i < 2 ? 1 : 2;
        baash_sha256_begun pair[2];
        for (int x = 0; x < n; x++) {
            pair[x] = baash_sha256_begin(out, data, starts, lengths, i + (size_t)x);
        }
        finish_pair(pair, n);
    }
    return 0;
}

#endif
