/* SHA-256 with Intel's SHA extensions, two messages interleaved.
 *
 * One sha256rnds2 waits for the one before it (4 cycles, 32 a block), while the unit could take a new one every 2: a
 * single message leaves half of it idle. So two lanes run, each with a message of its own; when one is through, it
 * takes the next message and the other goes on where it is. XMM0-15 hold no third lane, and EVEX forms do not exist.
 */
#include "sha256.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define SHANI __attribute__((target("sha,sse4.1,ssse3")))

typedef struct lane {
    __m128i abef, cdgh;
    const uint8_t *next; /* block to come */
    uint64_t blocks; /* to come in this part: the message's whole blocks, then its tail */
    size_t tail_blocks; /* 0 once the tail is under way */
    uint8_t *out;
    uint8_t tail[128];
} lane;

/* Where messages come from: those that others have begun, or a batch. */
typedef struct source {
    const baash_sha256_begun *begun; /* NULL: a batch */
    uint8_t *out;
    const uint8_t *data;
    const uint64_t *starts, *lengths;
    size_t taken, count;
} source;

/* Rounds 4 i … 4 i + 3. `m0` are their schedule words, `m1 m2 m3` those of the next three steps. */
#define STEP(abef, cdgh, m, i)                                                                               \
    do {                                                                                                     \
        const __m128i k = _mm_load_si128((const __m128i *)(const void *)(baash_sha256_constants + 4 * (i))); \
        const __m128i wk = _mm_add_epi32(m, k);                                                              \
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);                                                        \
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(wk, 0x0E));                               \
    } while (0)

/* m0 becomes the schedule words four steps on: w[t] = w[t-16] + s0(w[t-15]) + w[t-7] + s1(w[t-2]). */
#define EXTEND(m0, m1, m2, m3)                                                        \
    do {                                                                              \
        m0 = _mm_add_epi32(_mm_sha256msg1_epu32(m0, m1), _mm_alignr_epi8(m3, m2, 4)); \
        m0 = _mm_sha256msg2_epu32(m0, m3);                                            \
    } while (0)

#define LOAD(p, j) _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p) + (j)), swap)

/* clang-format off */
/* All 16 steps of a block, written once for any set of lanes: STEPS(i, m) and EXTENDS(m0, m1, m2, m3) fan out. */
#define BLOCK_STEPS \
    STEPS(0, 0); STEPS(1, 1); STEPS(2, 2); STEPS(3, 3); \
    EXTENDS(0, 1, 2, 3); STEPS(4, 0); EXTENDS(1, 2, 3, 0); STEPS(5, 1); \
    EXTENDS(2, 3, 0, 1); STEPS(6, 2); EXTENDS(3, 0, 1, 2); STEPS(7, 3); \
    EXTENDS(0, 1, 2, 3); STEPS(8, 0); EXTENDS(1, 2, 3, 0); STEPS(9, 1); \
    EXTENDS(2, 3, 0, 1); STEPS(10, 2); EXTENDS(3, 0, 1, 2); STEPS(11, 3); \
    EXTENDS(0, 1, 2, 3); STEPS(12, 0); EXTENDS(1, 2, 3, 0); STEPS(13, 1); \
    EXTENDS(2, 3, 0, 1); STEPS(14, 2); EXTENDS(3, 0, 1, 2); STEPS(15, 3)
/* clang-format on */

SHANI static void compress_two(lane *x, lane *y, uint64_t blocks) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i x0 = x->abef, x1 = x->cdgh, y0 = y->abef, y1 = y->cdgh;
    const uint8_t *p = x->next, *q = y->next;
    for (uint64_t b = 0; b < blocks; b++, p += 64, q += 64) {
        const __m128i x0_before = x0, x1_before = x1, y0_before = y0, y1_before = y1;
        __m128i xm0 = LOAD(p, 0), xm1 = LOAD(p, 1), xm2 = LOAD(p, 2), xm3 = LOAD(p, 3);
        __m128i ym0 = LOAD(q, 0), ym1 = LOAD(q, 1), ym2 = LOAD(q, 2), ym3 = LOAD(q, 3);
#define STEPS(i, m)         \
    STEP(x0, x1, xm##m, i); \
    STEP(y0, y1, ym##m, i)
#define EXTENDS(a, b, c, d)             \
    EXTEND(xm##a, xm##b, xm##c, xm##d); \
    EXTEND(ym##a, ym##b, ym##c, ym##d)
        BLOCK_STEPS;
#undef STEPS
#undef EXTENDS
        x0 = _mm_add_epi32(x0, x0_before), x1 = _mm_add_epi32(x1, x1_before);
        y0 = _mm_add_epi32(y0, y0_before), y1 = _mm_add_epi32(y1, y1_before);
    }
    x->abef = x0, x->cdgh = x1, x->next = p, x->blocks -= blocks;
    y->abef = y0, y->cdgh = y1, y->next = q, y->blocks -= blocks;
}

SHANI static void compress_one(lane *x) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i x0 = x->abef, x1 = x->cdgh;
    const uint8_t *p = x->next;
    for (; x->blocks; x->blocks--, p += 64) {
        const __m128i x0_before = x0, x1_before = x1;
        __m128i xm0 = LOAD(p, 0), xm1 = LOAD(p, 1), xm2 = LOAD(p, 2), xm3 = LOAD(p, 3);
#define STEPS(i, m) STEP(x0, x1, xm##m, i)
#define EXTENDS(a, b, c, d) EXTEND(xm##a, xm##b, xm##c, xm##d)
        BLOCK_STEPS;
#undef STEPS
#undef EXTENDS
        x0 = _mm_add_epi32(x0, x0_before), x1 = _mm_add_epi32(x1, x1_before);
    }
    x->abef = x0, x->cdgh = x1, x->next = p;
}

/* The next message of the source; there is one. */
SHANI static inline void begin(lane *x, source *s) {
    baash_sha256_begun b =
        s->begun ? s->begun[s->taken] : baash_sha256_begin(s->out, s->data, s->starts, s->lengths, s->taken);
    __m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)b.state);
    __m128i hgfe = _mm_loadu_si128((const __m128i *)(const void *)(b.state + 4));
    __m128i cdab = _mm_shuffle_epi32(dcba, 0xB1), efgh = _mm_shuffle_epi32(hgfe, 0x1B);
    s->taken++;
    x->abef = _mm_alignr_epi8(cdab, efgh, 8);
    x->cdgh = _mm_blend_epi16(efgh, cdab, 0xF0);
    x->out = b.out;
    x->next = b.next;
    x->blocks = b.left > 0 ? (uint64_t)b.left >> 6 : 0;
    x->tail_blocks = baash_sha256_tail(x->tail, b.next + 64 * x->blocks, b.left - 64 * (int64_t)x->blocks, b.length);
    if (!x->blocks) {
        x->next = x->tail, x->blocks = x->tail_blocks, x->tail_blocks = 0;
    }
}

SHANI static inline void finish(const lane *x) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i feba = _mm_shuffle_epi32(x->abef, 0x1B), dchg = _mm_shuffle_epi32(x->cdgh, 0xB1);
    __m128i dcba = _mm_blend_epi16(feba, dchg, 0xF0), hgfe = _mm_alignr_epi8(dchg, feba, 8);
    _mm_storeu_si128((__m128i *)(void *)x->out, _mm_shuffle_epi8(dcba, swap));
    _mm_storeu_si128((__m128i *)(void *)(x->out + 16), _mm_shuffle_epi8(hgfe, swap));
}

/* A lane whose part is through goes on with its tail, or with the next message; 0: there is none. */
SHANI static inline int advance(lane *x, source *s) {
    if (x->blocks) {
        return 1;
    }
    if (x->tail_blocks) {
        x->next = x->tail, x->blocks = x->tail_blocks, x->tail_blocks = 0;
        return 1;
    }
    finish(x);
    if (s->taken == s->count) {
        return 0;
    }
    begin(x, s);
    return 1;
}

SHANI static void run(source s) {
    lane a, b, *last = &a;
    if (!s.count) {
        return;
    }
    begin(&a, &s);
    if (s.count > 1) {
        begin(&b, &s);
        for (;;) {
            compress_two(&a, &b, a.blocks < b.blocks ? a.blocks : b.blocks);
            int a_runs = advance(&a, &s), b_runs = advance(&b, &s);
            if (!a_runs || !b_runs) {
                if (!a_runs && !b_runs) {
                    return;
                }
                last = a_runs ? &a : &b;
                break;
            }
        }
    }
    do {
        compress_one(last);
    } while (advance(last, &s));
}

void baash_sha256_finish_shani(const baash_sha256_begun *begun, size_t count) {
    run((source){.begun = begun, .count = count});
}

size_t baash_sha256_shani(uint8_t *out, baash_sha256_begun *begun, const uint8_t *data, const uint64_t *starts,
                          const uint64_t *lengths, size_t count) {
    (void)begun;
    run((source){.out = out, .data = data, .starts = starts, .lengths = lengths, .count = count});
    return 0;
}

#endif
