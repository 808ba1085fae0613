/* What can be refused without reading a record. */
#include "window.h"

/* Blocks of 1 … block_size transactions that together are all transactions and all bytes. */
static int blocks_add_up(const baash_window *w, uint32_t block_size) {
    uint64_t transactions = 0, bytes = 0;
    for (size_t i = 0; i < w->entry_count; i++) {
        uint32_t count = entry_transactions(w, i);
        if (count == 0 || count > block_size) {
            return 0;
        }
        transactions += count;
        bytes += load32(w->entries + ENTRY_BYTES * i + AT_ENTRY_BYTES);
    }
    return transactions == load32(w->header + AT_TRANSACTION_COUNT) && bytes == w->records_bytes;
}

static int ascending(const uint8_t *list, size_t count) {
    int good = 1;
    for (size_t i = 1; i < count; i++) {
        good &= load64(list + 8 * i - 8) < load64(list + 8 * i);
    }
    return good;
}

int baash_window_claims_agree(const baash_window *w, uint32_t block_size) {
    size_t transactions, words;
    baash_window_room(&transactions, &words, w);
    return transactions != 0 && load32(w->header + AT_BLOCK_COUNT) == w->entry_count &&
           load64(w->header + AT_RECORDS_BYTES) == w->records_bytes &&
           load32(w->header + AT_ENTITY_COUNT) == w->entity_count && blocks_add_up(w, block_size) &&
           ascending(w->entities, w->entity_count);
}
