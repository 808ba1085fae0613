/* The form of a window: all that can be said of it without the state it builds on.
 *
 * The order of the answers is that of the format: a record that is none is named before anything else, wherever it
 * lies; then claims that the records do not bear out, which refuse the window as a whole; then the first transaction
 * that a window must not hold twice. What the claims already contradict is not hashed: a liar gets the cheap answer. */
#include "window.h"

enum { REST = 64 };

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

int baash_window_room(size_t *transactions, size_t *work_words, const baash_window *w) {
    size_t claimed = load32(w->header + AT_TRANSACTION_COUNT);
    *transactions = *work_words = 0;
    if (claimed > w->records_bytes / RECORD_BYTES_MIN || claimed > UINT32_MAX / 2 || w->entry_count > claimed ||
        w->entity_count > claimed) {
        return BAASH_OK; /* more than can be there */
    }
    *transactions = claimed;
    *work_words = larger(baash_window_blocks_words(claimed, w->entry_count),
                         larger(baash_window_written_words(w->entity_count), baash_window_pairs_words(claimed)));
    return BAASH_OK;
}

/* Only the form of what lies behind the records that the header counts; how many more of them are good. */
static size_t scan_rest(uint64_t *position, int *reason, const baash_window *w) {
    baash_transaction_info spare[REST];
    size_t total = 0, count;
    int status;
    do {
        count = 0;
        status = baash_transaction_scan(spare, &count, position, reason, REST, w->records, w->records_bytes);
        total += count;
    } while (status == BAASH_E_FULL);
    return total;
}

/* The block of transaction `index`. */
static size_t block_of(const baash_window *w, size_t index) {
    size_t block = 0;
    for (size_t end = entry_transactions(w, 0); end <= index; end += entry_transactions(w, ++block)) {
    }
    return block;
}

int baash_window_check(baash_window_verdict *verdict, baash_transaction_info *info, uint8_t *ids, uint8_t *entities,
                       size_t capacity, uint64_t *work, size_t work_words, const baash_window *w, uint32_t block_size,
                       uint64_t seed, int kernel) {
    size_t room, words, at, count = 0;
    uint64_t position = 0;
    int reason = REASON_NONE, status = BAASH_OK;
    int holds = baash_window_claims_agree(w, block_size);
    baash_window_room(&room, &words, w);
    if (holds && (capacity < room || work_words < words)) {
        return BAASH_E_FULL;
    }
    if (holds) {
        status = baash_transaction_read(info, ids, entities, &count, &position, &reason, &at, room, w->records,
                                        w->records_bytes, kernel);
        holds = status == BAASH_OK && count == room;
        if (status != BAASH_OK && status != BAASH_E_FULL) {
            return status;
        }
    }
    if (!reason) {
        count += scan_rest(&position, &reason, w);
    }
    *verdict = (baash_window_verdict){.reason = REASON_WINDOW_MISMATCH};
    if (reason) {
        verdict->reason = (uint16_t)reason;
        verdict->bad_index = count;
        return BAASH_OK;
    }
    if (holds) {
        status = baash_window_blocks_hold(&holds, work, w, info, ids, count, kernel);
    }
    if (holds && status == BAASH_OK) {
        status = baash_window_written_holds(&holds, work, w, info, entities, count, kernel);
    }
    if (!holds || status != BAASH_OK) {
        return status;
    }
    size_t repeated = baash_window_repeated(work, info, count, seed);
    *verdict = (baash_window_verdict){.transactions = count, .whole = 1, .valid_blocks = (uint32_t)w->entry_count};
    if (repeated < count) {
        verdict->reason = REASON_REPLAYED;
        verdict->bad_index = repeated;
        verdict->valid_blocks = (uint32_t)block_of(w, repeated);
    }
    return BAASH_OK;
}
