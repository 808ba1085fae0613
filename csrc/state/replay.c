/* Which (issuer, sequence) are decided: per issuer the highest number and a ring of bits for the numbers below it
 * (the idea of RFC 6479). A number above the highest moves the range forward; one below the range counts as decided.
 *
 * The bitmaps, nearly all of the memory, lie in pieces, so a table that grows gets one more and copies none. What has
 * to be copied and indexed anew are 32 + 8 bytes an issuer. With an `undo`, every field is noted before it changes. */
#include "table.h"

static void note(baash_undo *undo, size_t row, uint32_t word, uint64_t value) {
    if (undo) {
        undo->steps[undo->step_count++] = (baash_replay_step){(uint32_t)row, word, value};
    }
}

static void set_word(baash_undo *undo, const baash_replay *r, size_t row, uint64_t word, uint64_t value) {
    uint64_t *at = replay_bitmap(r, row) + word;
    if (*at != value) {
        note(undo, row, (uint32_t)word, *at);
        *at = value;
    }
}

/* For `count` <= width numbers from `from` on: their bits in the ring are cleared, or taken over from `source`. */
static void ring_apply(baash_undo *undo, const baash_replay *r, size_t row, const uint64_t *source, uint64_t from,
                       uint64_t count) {
    const uint64_t *bitmap = replay_bitmap(r, row);
    uint64_t bit = from % r->width;
    while (count) {
        uint64_t in_word = 64 - bit % 64;
        uint64_t n = count < in_word ? count : in_word;
        uint64_t mask = (n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1) << (bit % 64);
        uint64_t word = bitmap[bit / 64];
        set_word(undo, r, row, bit / 64, source ? word | (source[bit / 64] & mask) : word & ~mask);
        count -= n;
        bit += n;
        bit = bit == r->width ? 0 : bit;
    }
}

static void move_up(baash_undo *undo, const baash_replay *r, size_t row, uint64_t highest) {
    baash_issuer *issuer = &r->issuers[row];
    uint64_t steps = highest - issuer->highest;
    note(undo, row, BAASH_STEP_HIGHEST, issuer->highest);
    ring_apply(undo, r, row, NULL, issuer->highest + 1, steps < r->width ? steps : r->width);
    issuer->highest = highest;
}

/* The row of `id`, made with `highest` when it is new; SIZE_MAX: no room. */
static size_t row_of(baash_undo *undo, baash_replay *r, key16 id, uint64_t highest) {
    size_t slot = issuer_slot(r, id, issuer_hash(id, r->seed));
    if (r->slots[slot]) {
        return r->slots[slot] - 1;
    }
    if (r->rows == r->row_capacity) {
        return SIZE_MAX;
    }
    note(undo, r->rows, BAASH_STEP_NEW, 0);
    r->slots[slot] = (uint32_t)(r->rows + 1);
    r->issuers[r->rows] = (baash_issuer){{id.word[0], id.word[1]}, highest, 0};
    return r->rows++;
}

int baash_replay_mark_one(baash_undo *undo, baash_replay *r, key16 id, uint64_t sequence) {
    uint64_t bit = sequence % r->width;
    size_t row = row_of(undo, r, id, sequence);
    if (row == SIZE_MAX) {
        return BAASH_E_FULL;
    }
    if (sequence > r->issuers[row].highest) {
        move_up(undo, r, row, sequence);
    }
    if (r->issuers[row].highest - sequence < r->width) {
        uint64_t word = replay_bitmap(r, row)[bit / 64];
        set_word(undo, r, row, bit / 64, word | UINT64_C(1) << (bit % 64));
    }
    return BAASH_OK;
}

int baash_replay_check(uint16_t *reasons, const baash_replay *r, const uint8_t *issuers, const uint64_t *sequences,
                       size_t count) {
    for (size_t i = 0; i < count; i++) {
        key16 id = load_key(issuers + 16 * i);
        uint32_t found = issuer_find(r, id, issuer_hash(id, r->seed));
        uint64_t highest = found ? r->issuers[found - 1].highest : 0;
        reasons[i] = REASON_NONE;
        if (found && sequences[i] <= highest) {
            if (highest - sequences[i] >= r->width) {
                reasons[i] = REASON_TOO_OLD;
            } else if (replay_bit(r, found - 1, sequences[i])) {
                reasons[i] = REASON_REPLAYED;
            }
        }
    }
    return BAASH_OK;
}

int baash_replay_mark(size_t *done, baash_replay *r, const uint8_t *issuers, const uint64_t *sequences, size_t count) {
    for (; *done < count; ++*done) {
        int status = baash_replay_mark_one(NULL, r, load_key(issuers + 16 * *done), sequences[*done]);
        if (status != BAASH_OK) {
            return status;
        }
    }
    return BAASH_OK;
}

int baash_replay_merge(size_t *done, baash_replay *r, const baash_replay *other) {
    for (; *done < other->rows; ++*done) {
        const baash_issuer *theirs = &other->issuers[*done];
        size_t row = row_of(NULL, r, (key16){{theirs->id[0], theirs->id[1]}}, theirs->highest);
        if (row == SIZE_MAX) {
            return BAASH_E_FULL;
        }
        if (theirs->highest > r->issuers[row].highest) {
            move_up(NULL, r, row, theirs->highest);
        }
        uint64_t below = r->issuers[row].highest - theirs->highest; /* so many of theirs are too old for ours */
        if (below < r->width) {
            ring_apply(NULL, r, row, replay_bitmap(other, *done), theirs->highest % r->width + 1 + below,
                       r->width - below);
        }
    }
    return BAASH_OK;
}

int baash_replay_index(baash_replay *r) {
    for (size_t row = 0; row < r->rows; row++) {
        key16 id = {{r->issuers[row].id[0], r->issuers[row].id[1]}};
        r->slots[issuer_slot(r, id, issuer_hash(id, r->seed))] = (uint32_t)(row + 1);
    }
    return BAASH_OK;
}
