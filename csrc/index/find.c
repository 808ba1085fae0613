/* Finding rows by key in a sorted table of an index file.
 *
 * Theory. Keys that are hashes lie evenly between 0 and 2^64, so where a key must stand among n rows can be computed, wrong by about
 * the square root of n; with what the first page shows, the second guess is right to a page nearly always. Keys that are not even
 * (times, one key many times, what somebody chose) fool the guess: when a step has not halved the range, the next one halves it, so
 * there are at most two steps for each bit of the number of pages.
 *
 * Fences (a key of every so many rows, in memory) narrow the range before the first guess, which is then right to a page mostly.
 *
 * A bound is the first row whose key is not below (or, `beyond`, above) the one that is looked for. */
#include "../bytes.h"
#include "index.h"

typedef struct finder {
    const baash_index_table *table;
    baash_index_fault *fault;
    uint64_t loaded; /* number of the page in `page`, or NONE */
    uint8_t page[BAASH_PAGE_BYTES];
} finder;

#define NONE UINT64_MAX

static int load(finder *f, uint64_t page) {
    if (f->loaded == page) {
        return BAASH_OK;
    }
    f->loaded = NONE;
    int status = baash_index_read_pages(f->page, f->fault, f->table, f->table->first_page + page, 1);
    f->loaded = status == BAASH_OK ? page : NONE;
    return status;
}

/* Whether the bound lies behind this row. */
static inline int behind(const finder *f, const uint8_t *row, const uint64_t *key, int beyond) {
    uint64_t word = load64(row);
    if (word == key[0] && f->table->key_words == 2) {
        uint64_t second = load64(row + 8);
        return second < key[1] || (beyond && second == key[1]);
    }
    return word < key[0] || (beyond && word == key[0]);
}

/* low + (high - low) * (key - first) / (last - first), below high. */
static inline uint64_t guess(uint64_t low, uint64_t high, uint64_t key, uint64_t first, uint64_t last) {
    if (key <= first) {
        return low;
    }
    if (key >= last) {
        return high - 1;
    }
    double share = (double)(key - first) / (double)(last - first);
    uint64_t at = low + (uint64_t)(share * (double)(high - low));
    return at < high ? at : high - 1;
}

/* How many fences are below `key`, or not above it. */
static uint64_t fences_below(const baash_index_table *table, uint64_t key, int or_equal) {
    uint64_t low = 0, high = table->fence_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (table->fences[middle] < key || (or_equal && table->fences[middle] == key)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The bound, looked for in rows [low, high). */
static int bound(finder *f, uint64_t *at, const uint64_t *key, int beyond, uint64_t low, uint64_t high) {
    uint64_t per_page = rows_per_page(f->table), first = 0, last = UINT64_MAX;
    size_t width = f->table->row_bytes;
    int halve = 0;
    uint64_t below = fences_below(f->table, key[0], 0), up_to = fences_below(f->table, key[0], 1);
    if (below && (below - 1) * f->table->fence_rows >= low) {
        low = (below - 1) * f->table->fence_rows;
        first = f->table->fences[below - 1];
    }
    if (up_to < f->table->fence_count && up_to * f->table->fence_rows < high) {
        high = up_to * f->table->fence_rows;
        last = f->table->fences[up_to];
    }
    while (low < high) {
        uint64_t range = high - low;
        uint64_t page = (halve ? low + range / 2 : guess(low, high, key[0], first, last)) / per_page;
        int status = load(f, page);
        if (status != BAASH_OK) {
            return status;
        }
        uint64_t start = page * per_page, a = start > low ? start : low;
        uint64_t b = high - start < per_page ? high : start + per_page;
        const uint8_t *row_a = f->page + (a - start) * width, *row_z = f->page + (b - 1 - start) * width;
        if (behind(f, row_z, key, beyond)) {
            low = b;
            first = load64(row_z);
        } else if (!behind(f, row_a, key, beyond)) {
            high = a;
            last = load64(row_a);
        } else {
            while (b - a > 1) { /* the bound lies in (a, b - 1] */
                uint64_t middle = a + (b - a) / 2;
                if (behind(f, f->page + (middle - start) * width, key, beyond)) {
                    a = middle;
                } else {
                    b = middle;
                }
            }
            low = high = b;
        }
        halve = !halve && high - low > range / 2;
    }
    *at = low;
    return BAASH_OK;
}

static int find(finder *f, uint64_t *first, uint64_t *count, uint8_t *row, const uint64_t *low, const uint64_t *high) {
    uint64_t per_page = rows_per_page(f->table), rows = f->table->rows, after;
    *count = 0;
    int status = bound(f, first, low, 0, 0, rows);
    if (status != BAASH_OK || *first == rows) {
        return status;
    }
    uint64_t page = *first / per_page, end = rows - page * per_page < per_page ? rows : (page + 1) * per_page;
    if ((status = load(f, page)) != BAASH_OK) {
        return status;
    }
    const uint8_t *found = f->page + (*first - page * per_page) * f->table->row_bytes;
    if (!behind(f, found, high, 1)) {
        return BAASH_OK;
    }
    memcpy(row, found, f->table->row_bytes);
    if (behind(f, f->page + (end - 1 - page * per_page) * f->table->row_bytes, high, 1)) {
        status = bound(f, &after, high, 1, end, rows);
    } else {
        status = bound(f, &after, high, 1, *first, end);
    }
    *count = after - *first;
    return status;
}

int baash_index_find(uint64_t *firsts, uint64_t *counts, uint8_t *rows, baash_index_fault *fault,
                     const baash_index_table *table, const uint64_t *lows, const uint64_t *highs, size_t keys) {
    finder f;
    if (!sound_table(table) || table->key_words == 0) {
        return BAASH_E_VALUE;
    }
    f.table = table;
    f.fault = fault;
    f.loaded = NONE;
    for (size_t i = 0; i < keys; i++) {
        int status = find(&f, firsts + i, counts + i, rows + i * table->row_bytes, lows + i * table->key_words,
                          highs + i * table->key_words);
        if (status != BAASH_OK) {
            return status;
        }
    }
    return BAASH_OK;
}

int baash_index_take(uint8_t *rows, baash_index_fault *fault, const baash_index_table *table, const uint64_t *numbers,
                     size_t count) {
    finder f;
    if (!sound_table(table)) {
        return BAASH_E_VALUE;
    }
    f.table = table;
    f.fault = fault;
    f.loaded = NONE;
    for (size_t i = 0; i < count; i++) {
        uint64_t per_page = rows_per_page(table);
        if (numbers[i] >= table->rows) {
            return BAASH_E_VALUE;
        }
        int status = load(&f, numbers[i] / per_page);
        if (status != BAASH_OK) {
            return status;
        }
        memcpy(rows + i * table->row_bytes, f.page + numbers[i] % per_page * table->row_bytes, table->row_bytes);
    }
    return BAASH_OK;
}
