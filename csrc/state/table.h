/* Where a key's search begins, and what the files of this folder share. Not public.
 *
 * Issuer ids and sequence numbers are chosen by whoever writes a transaction, and a table whose places they could
 * foresee could be made slow by keys that all begin at the same one. So places depend on a seed that only this
 * process knows; the rounds are those of MurmurHash3's 64-bit finaliser. */
#ifndef BAASH_TABLE_H
#define BAASH_TABLE_H

#include "../baash.h"
#include "../bytes.h"

static inline uint64_t mix(uint64_t x) {
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

typedef struct key16 {
    uint64_t word[2];
} key16;

static inline key16 load_key(const uint8_t *p) { return (key16){{load64(p), load64(p + 8)}}; }

static inline int same_key(const uint64_t *a, key16 b) { return a[0] == b.word[0] && a[1] == b.word[1]; }

/* The first 8 bytes of an entity's hash choose its shard and so its cluster: all keys of a table share bits there. */
static inline uint64_t entity_hash(key16 key, uint64_t seed) { return mix(key.word[1] ^ seed); }

static inline uint64_t issuer_hash(key16 id, uint64_t seed) { return mix(mix(id.word[0] ^ seed) ^ id.word[1]); }

/* Where the search for a hash begins: its first bits, so that the order of places is the same at every capacity. */
static inline size_t entity_home(uint64_t hash, size_t capacity) {
    return (size_t)(hash >> (64 - __builtin_ctzll(capacity)));
}

/* The array that `hash` belongs into. */
static inline baash_entity *entity_array(size_t *capacity, const baash_entity_table *t, uint64_t hash) {
    if (t->old && entity_home(hash, t->old_capacity) >= t->moved) {
        *capacity = t->old_capacity;
        return t->old;
    }
    *capacity = t->capacity;
    return t->entries;
}

/* The entry of `key`, or the empty one where it would go; not all entries are used. */
static inline baash_entity *entity_probe(baash_entity *entries, size_t capacity, key16 key, uint64_t hash) {
    size_t slot = entity_home(hash, capacity);
    while (entries[slot].word && !same_key(entries[slot].key, key)) {
        slot = (slot + 1) & (capacity - 1);
    }
    return &entries[slot];
}

static inline baash_entity *entity_find(const baash_entity_table *t, key16 key, uint64_t hash) {
    size_t capacity;
    baash_entity *entries = entity_array(&capacity, t, hash);
    return entity_probe(entries, capacity, key, hash);
}

/* A miss costs a hundred times what a step costs, and does not wait for the one before: searches are begun for so many
 * keys before the first is ended. */
enum { AHEAD = 32 };

static inline void entity_prefetch(const baash_entity_table *t, uint64_t hash) {
    size_t capacity;
    const baash_entity *entries = entity_array(&capacity, t, hash);
    __builtin_prefetch(&entries[entity_home(hash, capacity)]);
}

/* The slot of `id`, or the empty one where it would go. */
static inline size_t issuer_slot(const baash_replay *replay, key16 id, uint64_t hash) {
    size_t slot = hash & (replay->slot_count - 1);
    while (replay->slots[slot] && !same_key(replay->issuers[replay->slots[slot] - 1].id, id)) {
        slot = (slot + 1) & (replay->slot_count - 1);
    }
    return slot;
}

/* The row of `id` + 1, or 0. */
static inline uint32_t issuer_find(const baash_replay *replay, key16 id, uint64_t hash) {
    return replay->slots[issuer_slot(replay, id, hash)];
}

static inline uint64_t *replay_bitmap(const baash_replay *replay, size_t row) {
    size_t in_piece = row & (((size_t)1 << replay->piece_bits) - 1);
    return replay->bitmaps[row >> replay->piece_bits] + in_piece * (replay->width / 64);
}

/* Whether `sequence`, in the range of the row, is decided. */
static inline int replay_bit(const baash_replay *replay, size_t row, uint64_t sequence) {
    uint64_t bit = sequence % replay->width;
    return replay_bitmap(replay, row)[bit / 64] >> (bit % 64) & 1;
}

/* So many places of `old` are moved with every item that a table takes. */
enum { MOVES = 16 };

/* Moves what lies in the next `places` of `old`, if the table grows, and from there up to an empty place. */
void baash_entity_move_on(baash_entity_table *t, size_t places);

/* 70 %: with so many entries a table is full. */
static inline size_t entity_limit(const baash_entity_table *t) {
    return t->capacity / 10 * 7 + t->capacity % 10 * 7 / 10;
}

/* The rules (docs/ledger-format.md section 3): REASON_NONE, or which one a transaction breaks on an entity whose entry
 * says `word`. */
static inline int rule_broken(uint8_t operation, uint64_t expected_version, uint64_t word) {
    int exists = word >> 63 != 0;
    switch (operation) {
    case CREATE:
        return exists ? REASON_ENTITY_EXISTS : REASON_NONE;
    case USE:
        return exists ? REASON_NONE : REASON_ENTITY_UNKNOWN;
    case UPDATE:
    case RETIRE:
        if (!exists) {
            return REASON_ENTITY_UNKNOWN;
        }
        return expected_version == ANY_VERSION || expected_version == (word & ~BAASH_EXISTS) ? REASON_NONE
                                                                                              : REASON_VERSION_MISMATCH;
    case NOTE:
        return REASON_NONE;
    default:
        return REASON_BAD_OPERATION;
    }
}

/* Marks one pair and notes in `undo`, unless NULL, what changed; its steps have room for STEPS_PER_MARK(r) more. */
int baash_replay_mark_one(baash_undo *undo, baash_replay *r, key16 id, uint64_t sequence);

/* A row or its highest, every word once and the word where the ring is closed twice, the bit. */
#define STEPS_PER_MARK(r) ((r)->width / 64 + 3)

#endif
