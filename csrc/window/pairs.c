/* The same (issuer, sequence) twice in one window.
 *
 * Issuers count upwards, and while the numbers of each ascend no pair can come twice: a look at one number. Only a
 * window in which they do not is gone through again with a table of all pairs. */
#include "../state/table.h"
#include "window.h"

static size_t slot_count(size_t transactions) {
    size_t slots = 2;
    while (slots < 2 * transactions) {
        slots *= 2;
    }
    return slots;
}

size_t baash_window_pairs_words(size_t transactions) { return slot_count(transactions) / 2; }

static key16 issuer_of(const baash_transaction_info *info) { return load_key(info->issuer); }

/* slots: for each issuer the number of its last transaction + 1. */
static int all_ascend(uint32_t *slots, size_t mask, const baash_transaction_info *info, size_t count, uint64_t seed) {
    key16 now = {{0, 0}};
    size_t slot = 0;
    for (size_t i = 0; i < count; i++) {
        key16 id = issuer_of(&info[i]);
        if (i == 0 || !same_key(now.word, id)) {
            now = id;
            for (slot = issuer_hash(id, seed) & mask; slots[slot]; slot = (slot + 1) & mask) {
                key16 met = issuer_of(&info[slots[slot] - 1]);
                if (same_key(met.word, id)) {
                    break;
                }
            }
        }
        if (slots[slot] && info[i].sequence <= info[slots[slot] - 1].sequence) {
            return 0;
        }
        slots[slot] = (uint32_t)(i + 1);
    }
    return 1;
}

static int same_pair(const baash_transaction_info *a, const baash_transaction_info *b) {
    return a->sequence == b->sequence && memcmp(a->issuer, b->issuer, 16) == 0;
}

size_t baash_window_repeated(uint64_t *work, const baash_transaction_info *info, size_t count, uint64_t seed) {
    uint32_t *slots = (uint32_t *)work;
    size_t mask = slot_count(count) - 1;
    memset(slots, 0, sizeof *slots * (mask + 1));
    if (all_ascend(slots, mask, info, count, seed)) {
        return count;
    }
    memset(slots, 0, sizeof *slots * (mask + 1));
    for (size_t i = 0; i < count; i++) {
        size_t slot = mix(issuer_hash(issuer_of(&info[i]), seed) ^ info[i].sequence) & mask;
        for (; slots[slot]; slot = (slot + 1) & mask) {
            if (same_pair(&info[slots[slot] - 1], &info[i])) {
                return i;
            }
        }
        slots[slot] = (uint32_t)(i + 1);
    }
    return count;
}
