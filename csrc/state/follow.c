/* The replay of what was decided, for an audit: no overlay, nothing to take back, one visit of each entry.
 *
 * Where baash_state_check asks what a window *would* do to a table that others still read, an audit goes through the
 * ledger once, in order. What it needs of a transaction is half a cache line, so that these rows can be kept, sorted
 * by whoever replays which entities, and sent. (issuer, sequence) pairs are not judged here: an audit has to know
 * whether one came *ever* before, and finds that out at its end from their prints. */
#include "table.h"

/* For one issuer a bijection of the sequence numbers. */
static uint64_t print_of(key16 issuer, uint64_t sequence, const uint64_t seeds[3]) {
    uint64_t h = mix(issuer.word[0] ^ seeds[0]);
    h = mix((h + seeds[1]) ^ issuer.word[1]);
    return mix((h + seeds[2]) ^ sequence);
}

int baash_state_prints(uint64_t *prints, const uint8_t *issuers, const uint64_t *sequences, size_t count,
                       const uint64_t seeds[3]) {
    for (size_t i = 0; i < count; i++) {
        prints[i] = print_of(load_key(issuers + 16 * i), sequences[i], seeds);
    }
    return BAASH_OK;
}

int baash_state_take(baash_act *acts, uint64_t *pairs, uint64_t *ids8, baash_taken *taken,
                     const baash_transaction_info *info, const uint8_t *ids, const uint8_t *entities, size_t count,
                     uint32_t first, const uint32_t *owners, uint32_t cluster, const uint64_t seeds[3]) {
    baash_taken met = {0, 0, 0, 0};
    if (count > UINT32_MAX - first) {
        return BAASH_E_VALUE;
    }
    for (size_t i = 0; i < count; i++) {
        const baash_transaction_info *t = &info[i];
        key16 key = load_key(entities + 32 * i);
        pairs[i] = print_of(load_key(t->issuer), t->sequence, seeds);
        ids8[i] = load64(ids + 32 * i);
        met.is_signed += t->flags & 1;
        met.refers += t->reference_count != 0;
        met.strangers += owners[key.word[0] & 4095] != cluster;
        if (t->operation != NOTE) {
            acts[met.acts++] = (baash_act){
                {key.word[0], key.word[1]}, t->expected_version, first + (uint32_t)i, t->operation, {0, 0, 0}};
        }
    }
    *taken = met;
    return BAASH_OK;
}

/* Judges one act and does it; BAASH_E_FULL: there is no room for a new entity. */
static int follow_one(uint16_t *reason, baash_entity_table *t, size_t limit, const baash_act *act, uint64_t hash) {
    key16 key = {{act->key[0], act->key[1]}};
    baash_entity *e = entity_find(t, key, hash);
    *reason = (uint16_t)rule_broken(act->operation, act->expected_version, e->word);
    if (*reason || act->operation == USE || act->operation == NOTE) {
        return BAASH_OK;
    }
    if (!e->word) {
        if (t->used >= limit) {
            return BAASH_E_FULL;
        }
        t->used++;
    }
    uint64_t exists = act->operation == RETIRE ? 0 : BAASH_EXISTS;
    *e = (baash_entity){{key.word[0], key.word[1]}, ((e->word & ~BAASH_EXISTS) + 1) | exists, 0};
    return BAASH_OK;
}

int baash_state_follow(uint16_t *reasons, size_t *done, baash_entity_table *t, const baash_act *acts, size_t count) {
    const size_t limit = entity_limit(t);
    uint64_t hashes[AHEAD];
    while (*done < count) {
        size_t start = *done, n = count - start < AHEAD ? count - start : AHEAD;
        if (t->old) {
            baash_entity_move_on(t, n * MOVES);
        }
        for (size_t i = 0; i < n; i++) {
            key16 key = {{acts[start + i].key[0], acts[start + i].key[1]}};
            hashes[i] = entity_hash(key, t->seed);
            entity_prefetch(t, hashes[i]);
        }
        for (size_t i = start; i < start + n; i++, ++*done) {
            int status = follow_one(&reasons[i], t, limit, &acts[i], hashes[i - start]);
            if (status != BAASH_OK) {
                return status;
            }
        }
    }
    return BAASH_OK;
}
