/* Applies what a check found, and takes it back when the window is lost after all.
 *
 * Everything is noted before it is overwritten: of an entity its entry, of an issuer each field that changes. Undoing
 * goes through the notes backwards. What was undone is gone for every call on the tables; only what grew stays grown,
 * and entries may lie in other places. */
#include "table.h"

/* Notes down what the entities are now: all of them before the first is set, so that one that comes twice does no
 * harm. */
static void note_entities(baash_undo *undo, const baash_entity_table *t, const uint8_t *keys, size_t count) {
    while (undo->entity_count < count) {
        size_t start = undo->entity_count, end = count - start < AHEAD ? count : start + AHEAD;
        uint64_t hashes[AHEAD];
        for (size_t i = start; i < end; i++) {
            hashes[i - start] = entity_hash(load_key(keys + 16 * i), t->seed);
            entity_prefetch(t, hashes[i - start]);
        }
        for (size_t i = start; i < end; i++) {
            key16 key = load_key(keys + 16 * i);
            const baash_entity *e = entity_find(t, key, hashes[i - start]);
            undo->entities[i] = (baash_entity){{key.word[0], key.word[1]}, e->word, e->last};
        }
        undo->entity_count = end;
    }
}

int baash_state_apply(size_t *done, baash_undo *undo, baash_entity_table *table, baash_replay *replay,
                      const uint8_t *keys, const uint64_t *versions, const uint8_t *exists, const uint64_t *last,
                      size_t written, const uint16_t *reasons, const baash_transaction_info *info, size_t count) {
    if (undo->entity_capacity < written) {
        return BAASH_E_VALUE;
    }
    note_entities(undo, table, keys, written);
    if (*done < written) {
        int status = baash_entity_upsert(done, table, keys, versions, exists, last, written);
        if (status != BAASH_OK) {
            return status;
        }
    }
    for (; *done < written + count; ++*done) {
        const baash_transaction_info *t = &info[*done - written];
        if (reasons[*done - written]) {
            continue;
        }
        if (undo->step_capacity - undo->step_count < STEPS_PER_MARK(replay)) {
            return BAASH_E_FULL;
        }
        int status = baash_replay_mark_one(undo, replay, load_key(t->issuer), t->sequence);
        if (status != BAASH_OK) {
            return status;
        }
    }
    return BAASH_OK;
}

static void undo_step(baash_replay *r, const baash_replay_step *step) {
    baash_issuer *issuer = &r->issuers[step->row];
    if (step->word == BAASH_STEP_HIGHEST) {
        issuer->highest = step->value;
    } else if (step->word == BAASH_STEP_NEW) { /* the last row, and so the last in its search: it leaves no gap */
        key16 id = {{issuer->id[0], issuer->id[1]}};
        r->slots[issuer_slot(r, id, issuer_hash(id, r->seed))] = 0;
        r->rows--;
    } else {
        replay_bitmap(r, step->row)[step->word] = step->value;
    }
}

static void undo_entity(baash_entity_table *t, const baash_entity *before) {
    key16 key = {{before->key[0], before->key[1]}};
    if (before->word) {
        *entity_find(t, key, entity_hash(key, t->seed)) = *before;
    } else {
        uint8_t bytes[16];
        memcpy(bytes, key.word, sizeof bytes);
        baash_entity_remove(t, bytes, 1);
    }
}

int baash_state_undo(baash_undo *undo, baash_entity_table *table, baash_replay *replay) {
    while (undo->step_count) {
        undo_step(replay, &undo->steps[--undo->step_count]);
    }
    while (undo->entity_count) {
        undo_entity(table, &undo->entities[--undo->entity_count]);
    }
    return BAASH_OK;
}
