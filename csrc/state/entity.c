/* The entity table: key to version, existence and last write. Open addressing with linear search. */
#include "table.h"

int baash_entity_lookup(uint64_t *versions, uint8_t *exists, uint64_t *last, const baash_entity *entries,
                        size_t capacity, const uint8_t *keys, size_t count, uint64_t seed) {
    for (size_t i = 0; i < count; i++) {
        const baash_entity *e = &entries[entity_find(entries, capacity, load_key(keys + 16 * i), seed)];
        versions[i] = e->word & ~BAASH_EXISTS;
        exists[i] = (uint8_t)(e->word >> 63);
        last[i] = e->word ? e->last : 0;
    }
    return BAASH_OK;
}

int baash_entity_upsert(size_t *done, size_t *used, baash_entity *entries, size_t capacity, const uint8_t *keys,
                        const uint64_t *versions, const uint8_t *exists, const uint64_t *last, size_t count,
                        uint64_t seed) {
    const size_t limit = capacity / 10 * 7 + capacity % 10 * 7 / 10;
    for (; *done < count; ++*done) {
        size_t i = *done;
        key16 key = load_key(keys + 16 * i);
        baash_entity *e = &entries[entity_find(entries, capacity, key, seed)];
        if (versions[i] & BAASH_EXISTS || (!versions[i] && !exists[i])) {
            return BAASH_E_VALUE;
        }
        if (!e->word) {
            if (*used >= limit) {
                return BAASH_E_FULL;
            }
            ++*used;
            memcpy(e->key, key.word, sizeof e->key);
        }
        e->word = versions[i] | (exists[i] ? BAASH_EXISTS : 0);
        e->last = last[i];
    }
    return BAASH_OK;
}

/* Closes the gap at `hole`: an entry behind it moves up when its search would pass the gap. */
static void close_gap(baash_entity *entries, size_t capacity, size_t hole, uint64_t seed) {
    const size_t mask = capacity - 1;
    for (size_t slot = (hole + 1) & mask; entries[slot].word; slot = (slot + 1) & mask) {
        key16 key = {{entries[slot].key[0], entries[slot].key[1]}};
        size_t home = entity_slot(key, seed) & mask;
        if (((slot - home) & mask) >= ((slot - hole) & mask)) {
            entries[hole] = entries[slot];
            hole = slot;
        }
    }
    memset(&entries[hole], 0, sizeof entries[hole]);
}

int baash_entity_remove(size_t *used, baash_entity *entries, size_t capacity, const uint8_t *keys, size_t count,
                        uint64_t seed) {
    for (size_t i = 0; i < count; i++) {
        size_t slot = entity_find(entries, capacity, load_key(keys + 16 * i), seed);
        if (entries[slot].word) {
            close_gap(entries, capacity, slot, seed);
            --*used;
        }
    }
    return BAASH_OK;
}

int baash_entity_rehash(baash_entity *entries, size_t capacity, const baash_entity *old, size_t old_capacity,
                        uint64_t seed) {
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].word) {
            key16 key = {{old[i].key[0], old[i].key[1]}};
            entries[entity_find(entries, capacity, key, seed)] = old[i];
        }
    }
    return BAASH_OK;
}
