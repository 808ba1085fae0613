/* What the functions of an index file share: a page, read whole and held against its seal. */
#ifndef BAASH_INDEX_H
#define BAASH_INDEX_H

#include "../baash.h"

enum { PAGE_DATA = BAASH_PAGE_BYTES - 8 };

uint64_t baash_index_page_seal(const uint8_t *page, uint64_t salt, uint64_t number);

/* `count` pages from page `number` of the table's file on. Fills `fault` on failure. */
int baash_index_read_pages(uint8_t *pages, baash_index_fault *fault, const baash_index_table *table, uint64_t number,
                           size_t count);

static inline uint64_t rows_per_page(const baash_index_table *table) { return PAGE_DATA / table->row_bytes; }

/* Whether a table is one that can be read: it spares every function the same checks. */
static inline int sound_table(const baash_index_table *t) {
    return t->key_words <= 2 && t->row_bytes >= 1 && t->row_bytes >= 8 * t->key_words && t->row_bytes <= PAGE_DATA &&
           t->rows <= UINT64_MAX / 64 && (t->fence_count == 0 || (t->fence_rows && t->fence_count - 1 <= t->rows / t->fence_rows)) && t->first_page <= UINT64_MAX / BAASH_PAGE_BYTES / 64;
}

#endif
