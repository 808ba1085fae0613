/* SHA-256 with AVX-512: 32 messages side by side, two vectors of 16.
 *
 * Lane i of a vector holds the same word of message i. A round is a chain of additions, each waiting for the one before,
 * and one chain leaves half of a wide core idle; so two vectors take turns, round by round. Their schedules live in
 * memory (the first-level cache feeds them), their states in registers.
 * Bytes behind the end of a message are never touched: masked loads read exactly what is there. */
#include "sha256.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define LANES 32
#define FROM SHA256_AVX512_FROM
#define KERNEL __attribute__((target("avx512f,avx512bw,avx512vl,bmi,bmi2,lzcnt,popcnt")))
#include "lanes.h"

#define V __m512i
#define INLINE KERNEL static inline __attribute__((always_inline))

#define ADD(a, b) _mm512_add_epi32(a, b)
#define ROR(x, n) _mm512_ror_epi32(x, n)
#define XOR3(a, b, c) _mm512_ternarylogic_epi32(a, b, c, 0x96)
#define CHOOSE(e, f, g) _mm512_ternarylogic_epi32(e, f, g, 0xCA)
#define MAJORITY(a, b, c) _mm512_ternarylogic_epi32(a, b, c, 0xE8)
#define SCHEDULE0(x) XOR3(ROR(x, 7), ROR(x, 18), _mm512_srli_epi32(x, 3))
#define SCHEDULE1(x) XOR3(ROR(x, 17), ROR(x, 19), _mm512_srli_epi32(x, 10))
#define ALL(word) _mm512_set1_epi32((int)(word))

/* One round of one vector; the caller turns the names instead of moving the values. `kw`: constant plus schedule. */
#define ROUND(a, b, c, d, e, f, g, h, kw)                            \
    do {                                                             \
        const V t = ADD(ADD(h, kw), CHOOSE(e, f, g));                \
        const V s = XOR3(ROR(e, 6), ROR(e, 11), ROR(e, 25));         \
        const V m = ADD(MAJORITY(a, b, c), t);                       \
        d = ADD(ADD(d, t), s);                                       \
        h = ADD(ADD(m, s), XOR3(ROR(a, 2), ROR(a, 13), ROR(a, 22))); \
    } while (0)

/* Round `i` of both vectors; X and Y give what is added. */
#define ROUNDS(a, b, c, d, e, f, g, h, i)                               \
    do {                                                                \
        ROUND(x##a, x##b, x##c, x##d, x##e, x##f, x##g, x##h, KW_X(i)); \
        ROUND(y##a, y##b, y##c, y##d, y##e, y##f, y##g, y##h, KW_Y(i)); \
    } while (0)

#define EIGHT_ROUNDS(i)                          \
    do {                                         \
        ROUNDS(a, b, c, d, e, f, g, h, (i) + 0); \
        ROUNDS(h, a, b, c, d, e, f, g, (i) + 1); \
        ROUNDS(g, h, a, b, c, d, e, f, (i) + 2); \
        ROUNDS(f, g, h, a, b, c, d, e, (i) + 3); \
        ROUNDS(e, f, g, h, a, b, c, d, (i) + 4); \
        ROUNDS(d, e, f, g, h, a, b, c, (i) + 5); \
        ROUNDS(c, d, e, f, g, h, a, b, (i) + 6); \
        ROUNDS(b, c, d, e, f, g, h, a, (i) + 7); \
    } while (0)

/* The states of both vectors by name, from rows of 32 words, and what a block adds back to them. */
#define STATES(state)                                                                                 \
    V xa = LOAD(state, 0, 0), xb = LOAD(state, 1, 0), xc = LOAD(state, 2, 0), xd = LOAD(state, 3, 0); \
    V xe = LOAD(state, 4, 0), xf = LOAD(state, 5, 0), xg = LOAD(state, 6, 0), xh = LOAD(state, 7, 0); \
    V ya = LOAD(state, 0, 1), yb = LOAD(state, 1, 1), yc = LOAD(state, 2, 1), yd = LOAD(state, 3, 1); \
    V ye = LOAD(state, 4, 1), yf = LOAD(state, 5, 1), yg = LOAD(state, 6, 1), yh = LOAD(state, 7, 1)
#define LOAD(state, k, half) _mm512_load_si512((const void *)((state)[k] + 16 * (half)))
#define ADD_TO(state, k, half, v) \
    _mm512_store_si512((void *)((state)[k] + 16 * (half)), v = ADD(v, LOAD(state, k, half)))
#define ADD_BACK(state)                                                                                     \
    do {                                                                                                    \
        ADD_TO(state, 0, 0, xa), ADD_TO(state, 1, 0, xb), ADD_TO(state, 2, 0, xc), ADD_TO(state, 3, 0, xd); \
        ADD_TO(state, 4, 0, xe), ADD_TO(state, 5, 0, xf), ADD_TO(state, 6, 0, xg), ADD_TO(state, 7, 0, xh); \
        ADD_TO(state, 0, 1, ya), ADD_TO(state, 1, 1, yb), ADD_TO(state, 2, 1, yc), ADD_TO(state, 3, 1, yd); \
        ADD_TO(state, 4, 1, ye), ADD_TO(state, 5, 1, yf), ADD_TO(state, 6, 1, yg), ADD_TO(state, 7, 1, yh); \
    } while (0)

/* Rows of 16 words become columns. */
INLINE void transpose(V r[16]) {
    V t[16];
    for (int i = 0; i < 16; i += 4) {
        const V a = _mm512_unpacklo_epi32(r[i], r[i + 1]), b = _mm512_unpackhi_epi32(r[i], r[i + 1]);
        const V c = _mm512_unpacklo_epi32(r[i + 2], r[i + 3]), d = _mm512_unpackhi_epi32(r[i + 2], r[i + 3]);
        t[i] = _mm512_unpacklo_epi64(a, c), t[i + 1] = _mm512_unpackhi_epi64(a, c);
        t[i + 2] = _mm512_unpacklo_epi64(b, d), t[i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    for (int i = 0; i < 4; i++) {
        const V a = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xDD);
        const V c = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x88),
                d = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xDD);
        r[i] = _mm512_shuffle_i32x4(a, c, 0x88), r[i + 8] = _mm512_shuffle_i32x4(a, c, 0xDD);
        r[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88), r[i + 12] = _mm512_shuffle_i32x4(b, d, 0xDD);
    }
}

INLINE V big_endian(V x) {
    return _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203)));
}

/* The schedule w[0 … 15] of vector X, w[16 … 31] of vector Y goes 16 words on, `j` at a time. */
#define EXTEND(w, j) \
    (w)[j] = ADD(ADD((w)[j], SCHEDULE0((w)[((j) + 1) & 15])), ADD((w)[((j) + 9) & 15], SCHEDULE1((w)[((j) + 14) & 15])))
#define EXTEND_EIGHT(j)                              \
    do {                                             \
        EXTEND(w, (j) + 0), EXTEND(w + 16, (j) + 0); \
        EXTEND(w, (j) + 1), EXTEND(w + 16, (j) + 1); \
        EXTEND(w, (j) + 2), EXTEND(w + 16, (j) + 2); \
        EXTEND(w, (j) + 3), EXTEND(w + 16, (j) + 3); \
        EXTEND(w, (j) + 4), EXTEND(w + 16, (j) + 4); \
        EXTEND(w, (j) + 5), EXTEND(w + 16, (j) + 5); \
        EXTEND(w, (j) + 6), EXTEND(w + 16, (j) + 6); \
        EXTEND(w, (j) + 7), EXTEND(w + 16, (j) + 7); \
    } while (0)

/* One block, whose words stand in w[32]; w is used up. There is one copy of this, and it is short: two of them, run in
 * turns, drive each other out of the cache of decoded instructions, and that costs a third of the speed. */
KERNEL static __attribute__((noinline)) void compress(uint32_t state[8][32], V w[32]) {
    STATES(state);
#define KW_X(i) ADD(w[(i) & 15], ALL(baash_sha256_constants[i]))
#define KW_Y(i) ADD(w[16 + ((i) & 15)], ALL(baash_sha256_constants[i]))
    for (int i = 0; i < 64; i += 16) {
        EIGHT_ROUNDS(i);
        if (i < 48) {
            EXTEND_EIGHT(0);
        }
        EIGHT_ROUNDS(i + 8);
        if (i < 48) {
            EXTEND_EIGHT(8);
        }
    }
#undef KW_X
#undef KW_Y
    ADD_BACK(state);
}

/* One block that is the same in all lanes, by its constants and schedule words together. */
KERNEL static __attribute__((noinline)) void compress_same(uint32_t state[8][32], const uint32_t kw[64]) {
    STATES(state);
#define KW_X(i) ALL(kw[i])
#define KW_Y(i) ALL(kw[i])
    for (int i = 0; i < 64; i += 8) {
        EIGHT_ROUNDS(i);
    }
#undef KW_X
#undef KW_Y
    ADD_BACK(state);
}

/* What the block of 0x80, zeros and a length of `length` bytes adds in each round. */
static void schedule_padding(uint32_t kw[64], uint64_t length) {
    uint32_t w[64] = {[0] = UINT32_C(0x80000000), [14] = (uint32_t)(length >> 29), [15] = (uint32_t)(length << 3)};
    for (int i = 16; i < 64; i++) {
        const uint32_t x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + ((x >> 7 | x << 25) ^ (x >> 18 | x << 14) ^ x >> 3) +
               ((y >> 17 | y << 15) ^ (y >> 19 | y << 13) ^ y >> 10);
    }
    for (int i = 0; i < 64; i++) {
        kw[i] = w[i] + baash_sha256_constants[i];
    }
}

/* Whether every lane stands at the end of a message of the same whole number of blocks: 64 bytes, above all. */
INLINE int all_at_same_end(const lanes *l) {
    const V length = _mm512_set1_epi64((long long)l->length[0]);
    __mmask8 differs = 0;
    for (int i = 0; i < 32; i += 8) {
        const V left = _mm512_load_si512((const void *)(l->left + i));
        const V other = _mm512_xor_si512(_mm512_load_si512((const void *)(l->length + i)), length);
        const V any = _mm512_or_si512(left, other);
        differs |= _mm512_test_epi64_mask(any, any);
    }
    return !differs;
}

KERNEL static __attribute__((noinline)) void advance_whole(lanes *l, uint64_t blocks) {
    for (uint64_t at = 0; at < 64 * blocks; at += 64) {
        V w[32];
        for (int half = 0; half < 32; half += 16) {
            for (int i = 0; i < 16; i++) {
                w[half + i] = big_endian(_mm512_loadu_si512((const void *)(l->next[half + i] + at)));
            }
            transpose(w + half);
        }
        compress(l->state, w);
    }
}

/* Of which bytes a block consists, where the 0x80 goes, and the bit length if it is the last one. */
typedef struct edges {
    __mmask64 bytes[32], pad[32];
    uint32_t bits_high[32], bits_low[32];
} __attribute__((aligned(64))) edges;

INLINE void find_edges(edges *e, const lanes *l) {
    const V one = _mm512_set1_epi64(1), zero = _mm512_setzero_si512();
    for (int i = 0; i < 32; i += 8) {
        const V left = _mm512_load_si512((const void *)(l->left + i));
        const __mmask8 last = _mm512_cmplt_epi64_mask(left, _mm512_set1_epi64(56));
        const V bits = _mm512_maskz_slli_epi64(last, _mm512_load_si512((const void *)(l->length + i)), 3);
        const V pad = _mm512_sllv_epi64(one, left); /* 0 for 64 and more, and, as a huge number, below 0 */
        const V bytes = _mm512_sub_epi64(pad, one); /* all for 64 and more */
        _mm512_store_si512((void *)(e->pad + i), pad);
        _mm512_store_si512((void *)(e->bytes + i),
                           _mm512_mask_mov_epi64(bytes, _mm512_cmplt_epi64_mask(left, zero), zero));
        _mm256_store_si256((void *)(e->bits_high + i), _mm512_cvtepi64_epi32(_mm512_srli_epi64(bits, 32)));
        _mm256_store_si256((void *)(e->bits_low + i), _mm512_cvtepi64_epi32(bits));
    }
}

KERNEL static __attribute__((noinline)) void advance_edge(lanes *l) {
    const V end = _mm512_set1_epi8((char)0x80);
    edges e;
    V w[32];
    if (all_at_same_end(l)) {
        if (l->constant_for != l->length[0] || !l->length[0]) {
            l->constant_for = l->length[0];
            schedule_padding(l->constants, l->length[0]);
        }
        compress_same(l->state, l->constants);
        return;
    }
    find_edges(&e, l);
    for (int half = 0; half < 32; half += 16) {
        for (int i = half; i < half + 16; i++) {
            const V block = _mm512_maskz_loadu_epi8(_load_mask64(&e.bytes[i]), (const void *)l->next[i]);
            w[i] = big_endian(_mm512_mask_mov_epi8(block, _load_mask64(&e.pad[i]), end));
        }
        transpose(w + half);
        w[half + 14] = _mm512_or_si512(w[half + 14], _mm512_load_si512((const void *)(e.bits_high + half)));
        w[half + 15] = _mm512_or_si512(w[half + 15], _mm512_load_si512((const void *)(e.bits_low + half)));
    }
    compress(l->state, w);
}

KERNEL static inline uint64_t ended(const lanes *l) {
    const V limit = _mm512_set1_epi64(-8);
    uint64_t bits = 0;
    for (int i = 0; i < 32; i += 8) {
        bits |= (uint64_t)_mm512_cmplt_epi64_mask(_mm512_load_si512((const void *)(l->left + i)), limit) << i;
    }
    return bits;
}

KERNEL static inline void restart(lanes *l, uint64_t fresh) {
    for (int k = 0; k < 8; k++) {
        const V initial = ALL(baash_sha256_initial[k]);
        _mm512_mask_storeu_epi32((void *)l->state[k], (__mmask16)fresh, initial);
        _mm512_mask_storeu_epi32((void *)(l->state[k] + 16), (__mmask16)(fresh >> 16), initial);
    }
}

/* Columns of 8 words become rows of 32 bytes. */
INLINE void store_hashes(uint8_t *const to[16], const uint32_t (*state)[32]) {
    V r[8], words[2][4]; /* words[0][j]: in its quarter q, the first four words of lane 4 q + j; words[1]: the others */
    for (int k = 0; k < 8; k++) {
        r[k] = big_endian(_mm512_load_si512((const void *)state[k]));
    }
    for (int part = 0; part < 2; part++) {
        const V *s = r + 4 * part;
        const V a = _mm512_unpacklo_epi32(s[0], s[1]), b = _mm512_unpackhi_epi32(s[0], s[1]);
        const V c = _mm512_unpacklo_epi32(s[2], s[3]), d = _mm512_unpackhi_epi32(s[2], s[3]);
        words[part][0] = _mm512_unpacklo_epi64(a, c), words[part][1] = _mm512_unpackhi_epi64(a, c);
        words[part][2] = _mm512_unpacklo_epi64(b, d), words[part][3] = _mm512_unpackhi_epi64(b, d);
    }
    const V front = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), back = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    for (int j = 0; j < 4; j++) {
        const V near = _mm512_permutex2var_epi64(words[0][j], front, words[1][j]);
        const V far = _mm512_permutex2var_epi64(words[0][j], back, words[1][j]);
        _mm256_storeu_si256((void *)to[j], _mm512_castsi512_si256(near));
        _mm256_storeu_si256((void *)to[4 + j], _mm512_extracti64x4_epi64(near, 1));
        _mm256_storeu_si256((void *)to[8 + j], _mm512_castsi512_si256(far));
        _mm256_storeu_si256((void *)to[12 + j], _mm512_extracti64x4_epi64(far, 1));
    }
}

KERNEL static inline void emit(lanes *l, uint64_t through) {
    uint8_t nowhere[32], *to[32];
    for (int i = 0; i < 32; i++) {
        to[i] = through >> i & 1 ? l->out[i] : nowhere;
    }
    for (int half = 0; half < 32; half += 16) {
        if (through >> half & 0xFFFF) {
            store_hashes(to + half, (const uint32_t (*)[32])(const void *)&l->state[0][half]);
        }
    }
}

KERNEL size_t baash_sha256_avx512(uint8_t *out, baash_sha256_begun *begun, const uint8_t *data, const uint64_t *starts,
                                  const uint64_t *lengths, size_t count) {
    return run_lanes(out, begun, data, starts, lengths, count);
}

/* ---- Inner nodes ---- */

/* 65 bytes: 0x01 and 63 of the pair, then its last byte, 0x80 and the length of 520 bits. The second block is all
 * constants but for its first word, and needs no transposition. */
KERNEL static void nodes_32(uint8_t *const *to, const uint8_t *const *from) {
    uint32_t state[8][32] __attribute__((aligned(64))), first[32] __attribute__((aligned(64)));
    V w[32];
    for (int k = 0; k < 8; k++) {
        _mm512_store_si512((void *)state[k], ALL(baash_sha256_initial[k]));
        _mm512_store_si512((void *)(state[k] + 16), ALL(baash_sha256_initial[k]));
    }
    for (int half = 0; half < 32; half += 16) {
        for (int i = half; i < half + 16; i++) { /* the mask keeps the byte before the pair from being read */
            w[i] = big_endian(_mm512_mask_loadu_epi8(ALL(0x01), ~UINT64_C(1), (const void *)((uintptr_t)from[i] - 1)));
            first[i] = (uint32_t)from[i][63] << 24 | UINT32_C(0x800000);
        }
        transpose(w + half);
    }
    compress(state, w);
    for (int half = 0; half < 32; half += 16) {
        w[half] = _mm512_load_si512((const void *)(first + half));
        for (int j = 1; j < 15; j++) {
            w[half + j] = _mm512_setzero_si512();
        }
        w[half + 15] = ALL(65 * 8);
    }
    compress(state, w);
    store_hashes(to, (const uint32_t (*)[32])(const void *)&state[0][0]);
    store_hashes(to + 16, (const uint32_t (*)[32])(const void *)&state[0][16]);
}

KERNEL void baash_sha256_nodes_avx512(uint8_t *const *to, const uint8_t *const *from, size_t count) {
    for (; count >= 32; count -= 32, to += 32, from += 32) {
        nodes_32(to, from);
    }
    if (count) {
        uint8_t nowhere[32], *few_to[32];
        const uint8_t *few_from[32];
        for (size_t i = 0; i < 32; i++) {
            few_to[i] = i < count ? to[i] : nowhere;
            few_from[i] = from[i < count ? i : 0];
        }
        nodes_32(few_to, few_from);
    }
}

#endif
