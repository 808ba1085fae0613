/* The rules (docs/ledger-format.md section 3), for a sequence of transactions that build on one another.
 *
 * Nothing of the state is changed. What the valid ones so far have done is noted in an overlay of three small tables
 * over the state's: the new state of each entity written, the highest number of each issuer met, and each
 * (issuer, sequence) taken. The overlay's slots hold numbers of rows + 1, and the rows hold what is compared: whole
 * keys, whole pairs. */
#include "table.h"

typedef struct state {
    baash_entity_table table;
    const baash_replay *replay;
    const baash_transaction_info *info;
    baash_overlay *overlay;
    uint32_t *entity_slots, *issuer_slots, *pair_slots;
    size_t mask, issuers, written;
    uint8_t *keys;
    uint64_t *words;
    uint64_t *last;
} state;

static key16 issuer_of(const state *s, size_t i) { return load_key(s->info[i].issuer); }

/* The overlay's row of the issuer of transaction i; made from the replay table's when it is met first. */
static size_t issuer_row(state *s, size_t i, uint64_t hash, key16 id) {
    baash_overlay *o = s->overlay;
    size_t slot = hash & s->mask;
    for (; s->issuer_slots[slot]; slot = (slot + 1) & s->mask) {
        size_t row = s->issuer_slots[slot] - 1;
        key16 met = issuer_of(s, o->issuer_firsts[row]);
        if (same_key(met.word, id)) {
            return row;
        }
    }
    size_t row = s->issuers++;
    uint32_t found = issuer_find(s->replay, id, hash);
    s->issuer_slots[slot] = (uint32_t)(row + 1);
    o->issuer_firsts[row] = (uint32_t)i;
    o->issuer_rows[row] = found;
    o->issuer_highests[row] = found ? s->replay->issuers[found - 1].highest : 0;
    return row;
}

/* The slot that holds the pair of transaction i, or the empty one where it would go. */
static size_t pair_slot(const state *s, size_t i, uint64_t hash, key16 id) {
    size_t slot = hash & s->mask;
    for (; s->pair_slots[slot]; slot = (slot + 1) & s->mask) {
        size_t other = s->pair_slots[slot] - 1;
        if (s->info[other].sequence == s->info[i].sequence && same_key(issuer_of(s, other).word, id)) {
            break;
        }
    }
    return slot;
}

static int check_replay(const state *s, size_t i, size_t row, size_t pair) {
    const baash_replay *r = s->replay;
    uint64_t sequence = s->info[i].sequence, highest = s->overlay->issuer_highests[row];
    uint64_t found = s->overlay->issuer_rows[row];
    if (sequence < highest && highest - sequence >= r->width) {
        return REASON_TOO_OLD;
    }
    if (s->pair_slots[pair]) {
        return REASON_REPLAYED;
    }
    if (found && sequence <= r->issuers[found - 1].highest && replay_bit(r, found - 1, sequence)) {
        return REASON_REPLAYED; /* in its range, for the overlay's highest is not below it */
    }
    return REASON_NONE;
}

/* The slot of the entity in the overlay, or the empty one where it would go. */
static size_t entity_slot(const state *s, key16 key, uint64_t hash) {
    size_t slot = hash & s->mask;
    for (; s->entity_slots[slot]; slot = (slot + 1) & s->mask) {
        key16 met = load_key(s->keys + 16 * (size_t)(s->entity_slots[slot] - 1));
        if (same_key(met.word, key)) {
            break;
        }
    }
    return slot;
}

static void write_entity(state *s, size_t slot, const uint8_t *key, uint64_t word, int exists, uint64_t number) {
    if (!s->entity_slots[slot]) {
        memcpy(s->keys + 16 * s->written, key, 16);
        s->entity_slots[slot] = (uint32_t)++s->written;
    }
    size_t row = s->entity_slots[slot] - 1;
    s->words[row] = ((word & ~BAASH_EXISTS) + 1) | (exists ? BAASH_EXISTS : 0);
    s->last[row] = number;
}

/* Where the searches for a transaction begin. */
typedef struct hashes {
    uint64_t entity, issuer, pair;
} hashes;

static hashes begin(const state *s, size_t i, const uint8_t *entity) {
    uint64_t issuer = issuer_hash(issuer_of(s, i), s->replay->seed);
    hashes h = {entity_hash(load_key(entity), s->table.seed), issuer, mix(issuer ^ s->info[i].sequence)};
    entity_prefetch(&s->table, h.entity);
    __builtin_prefetch(&s->entity_slots[h.entity & s->mask], 1);
    __builtin_prefetch(&s->pair_slots[h.pair & s->mask], 1);
    return h;
}

static int check_one(state *s, size_t i, const hashes *h, const uint8_t *entity, uint64_t number) {
    const baash_transaction_info *t = &s->info[i];
    key16 id = issuer_of(s, i), key = load_key(entity);
    size_t row = issuer_row(s, i, h->issuer, id), pair = pair_slot(s, i, h->pair, id);
    size_t slot = entity_slot(s, key, h->entity);
    uint64_t word = s->entity_slots[slot] ? s->words[s->entity_slots[slot] - 1]
                                          : entity_find(&s->table, key, h->entity)->word;
    int reason = check_replay(s, i, row, pair);
    reason = reason ? reason : rule_broken(t->operation, t->expected_version, word);
    if (reason) {
        return reason;
    }
    s->pair_slots[pair] = (uint32_t)(i + 1);
    if (t->sequence > s->overlay->issuer_highests[row]) {
        s->overlay->issuer_highests[row] = t->sequence;
    }
    if (t->operation == CREATE || t->operation == UPDATE || t->operation == RETIRE) {
        write_entity(s, slot, entity, word, t->operation != RETIRE, number);
    }
    return REASON_NONE;
}

int baash_state_check(uint16_t *reasons, uint8_t *keys, uint64_t *versions, uint8_t *exists, uint64_t *last,
                      size_t *written, baash_overlay *overlay, const baash_entity_table *table,
                      const baash_replay *replay, const baash_transaction_info *info, const uint8_t *entities,
                      size_t count, uint64_t first) {
    if (count > UINT32_MAX / 2 || overlay->slot_count < 2 * count || overlay->slot_count == 0) {
        return BAASH_E_VALUE;
    }
    state s = {
        .table = *table,
        .replay = replay,
        .info = info,
        .overlay = overlay,
        .entity_slots = overlay->slots,
        .issuer_slots = overlay->slots + overlay->slot_count,
        .pair_slots = overlay->slots + 2 * overlay->slot_count,
        .mask = overlay->slot_count - 1,
        .keys = keys,
        .words = versions,
        .last = last,
    };
    hashes ahead[AHEAD];
    for (size_t start = 0; start < count; start += AHEAD) {
        size_t end = count - start < AHEAD ? count : start + AHEAD;
        for (size_t i = start; i < end; i++) {
            ahead[i - start] = begin(&s, i, entities + 32 * i);
        }
        for (size_t i = start; i < end; i++) {
            reasons[i] = (uint16_t)check_one(&s, i, &ahead[i - start], entities + 32 * i, first + i);
        }
    }
    for (size_t row = 0; row < s.written; row++) {
        exists[row] = (uint8_t)(versions[row] >> 63);
        versions[row] &= ~BAASH_EXISTS;
    }
    *written = s.written;
    return BAASH_OK;
}
