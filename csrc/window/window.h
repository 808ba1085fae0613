/* The parts of a window's verdict (docs/ledger-format.md sections 4 and 5). Not public.
 *
 * Each part takes the claims as they came and what was computed from the records, and says whether they agree. They run
 * one after the other and share one piece of scratch, of which each says how many words it wants. */
#ifndef BAASH_WINDOW_H
#define BAASH_WINDOW_H

#include "../baash.h"
#include "../bytes.h"

enum {
    AT_CLUSTER = 4,
    AT_BLOCK_COUNT = 12,
    AT_RECORDS_BYTES = 32,
    AT_TRANSACTION_COUNT = 40,
    AT_ENTITY_COUNT = 44,
    AT_CONTENT_ROOT = 144,
    AT_ENTITIES = 176,
};
enum { ENTRY_BYTES = 40, AT_ENTRY_COUNT = 32, AT_ENTRY_BYTES = 36 };
enum { RECORD_BYTES_MIN = 72 }; /* a header and a name of one byte */

static inline uint32_t entry_transactions(const baash_window *w, size_t block) {
    return load32(w->entries + ENTRY_BYTES * block + AT_ENTRY_COUNT);
}

/* Whether the claims agree with each other and with the sizes of what came. */
int baash_window_claims_agree(const baash_window *w, uint32_t block_size);

size_t baash_window_blocks_words(size_t transactions, size_t blocks);
/* *holds: the blocks have the roots and sizes of their entries, and the content root is the header's. */
int baash_window_blocks_hold(int *holds, uint64_t *work, const baash_window *w, const baash_transaction_info *info,
                             const uint8_t *ids, size_t count, int kernel);

size_t baash_window_written_words(size_t entities);
/* *holds: the list is that of the entities written, and its digest the header's. */
int baash_window_written_holds(int *holds, uint64_t *work, const baash_window *w, const baash_transaction_info *info,
                               const uint8_t *entities, size_t count, int kernel);

size_t baash_window_pairs_words(size_t transactions);
/* The first transaction whose (issuer, sequence) one before it has, or `count`. */
size_t baash_window_repeated(uint64_t *work, const baash_transaction_info *info, size_t count, uint64_t seed);

#endif
