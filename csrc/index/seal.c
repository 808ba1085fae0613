/* The seal of a page: 8 bytes at its end over the 4,088 before them.
 *
 * Eight lanes take the words in turn; a step is x -> (x ^ word) * odd, then x ^ x >> 32. Each part of it has an inverse, for the lane
 * and for the word, and so has the fold of the lanes at the end. So a change within one word always changes the seal, and any other
 * goes unnoticed once in 2^64. It keeps out accidents, not people: who can write the file can seal it. The number of the page and the
 * salt of its file go in first: a page in the wrong place, or left over from another file, has a wrong seal. */
#include "../baash.h"
#include "../bytes.h"
#include "index.h"

enum { LANES = 8, WORDS = PAGE_DATA / 8 };

static inline uint64_t step(uint64_t x, uint64_t word) {
    x = (x ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 32;
}

uint64_t baash_index_page_seal(const uint8_t *page, uint64_t salt, uint64_t number) {
    uint64_t lanes[LANES], seal = step(step(UINT64_C(0x6261617368696478), salt), number);
    size_t i = 0;
    for (size_t lane = 0; lane < LANES; lane++) {
        lanes[lane] = step(seal, lane);
    }
    for (; i + LANES <= WORDS; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            lanes[lane] = step(lanes[lane], load64(page + 8 * (i + lane)));
        }
    }
    for (; i < WORDS; i++) {
        lanes[i % LANES] = step(lanes[i % LANES], load64(page + 8 * i));
    }
    for (size_t lane = 0; lane < LANES; lane++) {
        seal = step(seal, lanes[lane]);
    }
    return seal;
}

int baash_index_seal(uint8_t *pages, size_t count, uint64_t salt, uint64_t first) {
    for (size_t i = 0; i < count; i++) {
        uint8_t *page = pages + i * BAASH_PAGE_BYTES;
        store64(page + PAGE_DATA, baash_index_page_seal(page, salt, first + i));
    }
    return BAASH_OK;
}
