/* Where a key's search begins. Not public.
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
static inline size_t entity_slot(key16 key, uint64_t seed) { return (size_t)mix(key.word[1] ^ seed); }

static inline uint64_t issuer_hash(key16 id, uint64_t seed) { return mix(mix(id.word[0] ^ seed) ^ id.word[1]); }

/* The entry of `key`, or the empty one where it would go; `capacity` is a power of two and not all entries are used. */
static inline size_t entity_find(const baash_entity *entries, size_t capacity, key16 key, uint64_t seed) {
    size_t slot = entity_slot(key, seed) & (capacity - 1);
    while (entries[slot].word && !same_key(entries[slot].key, key)) {
        slot = (slot + 1) & (capacity - 1);
    }
    return slot;
}

/* The row of `id` + 1, or 0. */
static inline uint32_t issuer_find(const baash_replay *replay, key16 id, uint64_t hash) {
    size_t slot = hash & (replay->slot_count - 1);
    while (replay->slots[slot] && !same_key(replay->issuers[replay->slots[slot] - 1].id, id)) {
        slot = (slot + 1) & (replay->slot_count - 1);
    }
    return replay->slots[slot];
}

/* Whether `sequence`, in the range of the row, is decided. */
static inline int replay_bit(const baash_replay *replay, size_t row, uint64_t sequence) {
    uint64_t bit = sequence % replay->width;
    return replay->bitmaps[row * (replay->width / 64) + bit / 64] >> (bit % 64) & 1;
}

#endif
