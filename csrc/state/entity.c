/* The entity table: key to version, existence and last write. Open addressing with linear search.
 *
 * Growth without a pause. The array of a table that grows becomes `old`, and every item of an upsert first moves MOVES
 * places of it into the new one. The first bits of a hash are its home, so both arrays have one order: the homes of old
 * place h are 2h and 2h + 1 (and so on) of the new array, moving goes through both from front to back, and fresh
 * memory is touched in order too, a few pages a call. A key lies in one array only: in `old` if its home there is
 * `moved` or more, else in the new one. So a search looks in one array, growing or not, and a new key goes where it
 * would be looked for. That fills what is left of `old` a little more, to 70 % + 1 / MOVES at the worst; then it is
 * empty, long before the new array is at 70 %.
 *
 * `moved` always stands behind a place that was empty when it was reached, so no search crosses it from below. One can
 * come around from the end, though: a key with one of the last homes that lies in one of the first places. Moving
 * takes it up and puts it back, it may only come nearer to its home; the last step takes along all that came around. */
#include "table.h"

static int is_valid(uint64_t version, uint8_t exists) { return !(version & BAASH_EXISTS) && (version || exists); }

int baash_entity_lookup(uint64_t *versions, uint8_t *exists, uint64_t *last, const baash_entity_table *table,
                        const uint8_t *keys, size_t count) {
    const baash_entity_table t = *table; /* a copy: what is written cannot be part of it */
    uint64_t hashes[AHEAD];
    for (size_t start = 0; start < count; start += AHEAD) {
        size_t n = count - start < AHEAD ? count - start : AHEAD;
        for (size_t i = 0; i < n; i++) {
            hashes[i] = entity_hash(load_key(keys + 16 * (start + i)), t.seed);
            entity_prefetch(&t, hashes[i]);
        }
        for (size_t i = 0; i < n; i++) {
            const baash_entity *e = entity_find(&t, load_key(keys + 16 * (start + i)), hashes[i]);
            versions[start + i] = e->word & ~BAASH_EXISTS;
            exists[start + i] = (uint8_t)(e->word >> 63);
            last[start + i] = e->last; /* of an empty entry: 0 */
        }
    }
    return BAASH_OK;
}

/* Empties one place of `old`, `slot` steps behind its first. */
static void move_entry(baash_entity_table *t, size_t slot) {
    baash_entity *from = &t->old[slot & (t->old_capacity - 1)], entry = *from;
    key16 key = {{entry.key[0], entry.key[1]}};
    uint64_t hash = entity_hash(key, t->seed);
    memset(from, 0, sizeof *from);
    if (entity_home(hash, t->old_capacity) > slot) {
        *entity_probe(t->old, t->old_capacity, key, hash) = entry; /* came around from the end */
    } else {
        *entity_probe(t->entries, t->capacity, key, hash) = entry;
    }
}

/* Moves what lies in the next `places` of `old` and, from there, up to an empty place. */
void baash_entity_move_on(baash_entity_table *t, size_t places) {
    size_t slot = t->moved, end = t->old_capacity - slot < places ? t->old_capacity : slot + places;
    for (; slot < end || t->old[slot & (t->old_capacity - 1)].word; slot++) {
        if (t->old[slot & (t->old_capacity - 1)].word) {
            move_entry(t, slot);
        }
    }
    t->moved = slot + 1;
    if (slot >= t->old_capacity) {
        t->old = NULL;
        t->old_capacity = t->moved = 0;
    }
}

/* Sets one entry: BAASH_E_FULL when there is no room for a new one. */
static int put(baash_entity_table *t, size_t limit, key16 key, uint64_t hash, uint64_t word, uint64_t last) {
    baash_entity *e = entity_find(t, key, hash);
    if (!e->word) {
        if (t->used >= limit) {
            return BAASH_E_FULL;
        }
        t->used++;
    }
    *e = (baash_entity){{key.word[0], key.word[1]}, word, last};
    return BAASH_OK;
}

int baash_entity_upsert(size_t *done, baash_entity_table *t, const uint8_t *keys, const uint64_t *versions,
                        const uint8_t *exists, const uint64_t *last, size_t count) {
    const size_t limit = entity_limit(t);
    uint64_t hashes[AHEAD];
    while (*done < count) {
        size_t start = *done, n = count - start < AHEAD ? count - start : AHEAD;
        if (t->old) {
            baash_entity_move_on(t, n * MOVES);
        }
        for (size_t i = 0; i < n; i++) {
            hashes[i] = entity_hash(load_key(keys + 16 * (start + i)), t->seed);
            entity_prefetch(t, hashes[i]);
        }
        for (size_t i = start; i < start + n; i++, ++*done) {
            if (!is_valid(versions[i], exists[i])) {
                return BAASH_E_VALUE;
            }
            uint64_t word = versions[i] | (exists[i] ? BAASH_EXISTS : 0);
            int status = put(t, limit, load_key(keys + 16 * i), hashes[i - start], word, last[i]);
            if (status != BAASH_OK) {
                return status;
            }
        }
    }
    return BAASH_OK;
}

/* Closes the gap at `hole`: an entry behind it moves up when its search would pass the gap. */
static void close_gap(baash_entity *entries, size_t capacity, size_t hole, uint64_t seed) {
    const size_t mask = capacity - 1;
    for (size_t slot = (hole + 1) & mask; entries[slot].word; slot = (slot + 1) & mask) {
        key16 key = {{entries[slot].key[0], entries[slot].key[1]}};
        size_t home = entity_home(entity_hash(key, seed), capacity);
        if (((slot - home) & mask) >= ((slot - hole) & mask)) {
            entries[hole] = entries[slot];
            hole = slot;
        }
    }
    memset(&entries[hole], 0, sizeof entries[hole]);
}

int baash_entity_remove(baash_entity_table *t, const uint8_t *keys, size_t count) {
    for (size_t i = 0; i < count; i++) {
        key16 key = load_key(keys + 16 * i);
        uint64_t hash = entity_hash(key, t->seed);
        size_t capacity;
        baash_entity *entries = entity_array(&capacity, t, hash), *e = entity_probe(entries, capacity, key, hash);
        if (e->word) {
            close_gap(entries, capacity, (size_t)(e - entries), t->seed);
            t->used--;
        }
    }
    return BAASH_OK;
}

int baash_entity_grow(baash_entity_table *t, baash_entity *entries, size_t capacity) {
    if (t->old || capacity / 2 < t->capacity) {
        return BAASH_E_VALUE;
    }
    t->old = t->entries;
    t->old_capacity = t->capacity;
    t->moved = 0;
    t->entries = entries;
    t->capacity = capacity;
    return BAASH_OK;
}
