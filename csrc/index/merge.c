/* Merging two sorted runs of rows.
 *
 * Behind its key every row has a number (u4), and all numbers of the second run come after those of the first: `shift` is added to
 * them. Among equal keys the first run's rows come first, so they stay in order of their numbers. */
#include "../bytes.h"
#include "index.h"

static inline int at_most(const uint8_t *a, const uint8_t *b, uint32_t key_words) {
    uint64_t x = load64(a), y = load64(b);
    if (x == y && key_words == 2) {
        x = load64(a + 8);
        y = load64(b + 8);
    }
    return x <= y;
}

int baash_index_merge(uint8_t *out, size_t *done, size_t capacity, const uint8_t *a, size_t a_rows, const uint8_t *b,
                      size_t b_rows, uint32_t row_bytes, uint32_t key_words, uint32_t shift) {
    size_t i = 0, j = 0, width = row_bytes, key = 8 * (size_t)key_words;
    if (key_words < 1 || key_words > 2 || width < key + 4) {
        return BAASH_E_VALUE;
    }
    while (i < a_rows && j < b_rows && i + j < capacity) {
        const uint8_t *row_a = a + i * width, *row_b = b + j * width;
        uint8_t *to = out + (i + j) * width;
        if (at_most(row_a, row_b, key_words)) {
            memcpy(to, row_a, width);
            i++;
        } else {
            memcpy(to, row_b, width);
            store32(to + key, load32(to + key) + shift);
            j++;
        }
    }
    done[0] = i;
    done[1] = j;
    return BAASH_OK;
}
