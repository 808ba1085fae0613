/* In which order the lanes take the messages of a batch: as they come when all need equally many blocks, else long ones
 * first. Not public.
 *
 * Lanes advance together, so neighbours of equal length waste nothing, and a long message that begins early runs beside
 * many short ones instead of alone behind them. A sort of the whole batch would need memory; so WINDOW messages are
 * sorted at a time, by counting, and the lanes keep running across the edge between two windows. */
#ifndef BAASH_QUEUE_H
#define BAASH_QUEUE_H

#include "sha256.h"

enum { WINDOW = 4096, EXACT = 64, BUCKETS = EXACT + 8 * 58 };

typedef struct queue {
    const uint64_t *lengths;
    size_t count, base, size, taken; /* the window: messages base … base + size, of which `taken` are gone */
    int sorted;
    uint16_t order[WINDOW];
} queue;

/* Blocks of a message: its bytes, 0x80 and the length. */
static inline uint64_t blocks_of(uint64_t length) { return (length + 8) / 64 + 1; }

/* Exact up to 64 blocks, then eight steps for each doubling. */
static inline unsigned bucket_of(uint64_t length) {
    uint64_t blocks = blocks_of(length);
    if (blocks < EXACT) {
        return (unsigned)blocks;
    }
    unsigned log = 63 - (unsigned)__builtin_clzll(blocks);
    return EXACT + 8 * (log - 6) + (unsigned)(blocks >> (log - 3) & 7);
}

static inline void queue_sort(queue *q) {
    uint16_t ends[BUCKETS] = {0};
    const uint64_t *lengths = q->lengths + q->base;
    for (size_t i = 0; i < q->size; i++) {
        ends[bucket_of(lengths[i])]++;
    }
    for (unsigned b = BUCKETS, sum = 0; b-- > 0;) {
        unsigned n = ends[b];
        ends[b] = (uint16_t)sum; /* where the bucket begins; then, where its next message goes */
        sum += n;
    }
    for (size_t i = 0; i < q->size; i++) {
        q->order[ends[bucket_of(lengths[i])]++] = (uint16_t)i;
    }
}

/* The window behind this one; 0: there is none. */
static inline int queue_turn(queue *q) {
    uint64_t least = UINT64_MAX, most = 0;
    q->base += q->size;
    q->size = q->count - q->base < WINDOW ? q->count - q->base : WINDOW;
    q->taken = 0;
    for (size_t i = 0; i < q->size; i++) {
        uint64_t length = q->lengths[q->base + i];
        least = length < least ? length : least;
        most = length > most ? length : most;
    }
    q->sorted = q->size && blocks_of(least) != blocks_of(most);
    if (q->sorted) {
        queue_sort(q);
    }
    return q->size > 0;
}

static inline void queue_begin(queue *q, const uint64_t *lengths, size_t count) {
    q->lengths = lengths;
    q->count = count;
    q->base = q->size = 0;
    queue_turn(q);
}

/* Whether *index is the number of another message. */
static inline int queue_next(queue *q, size_t *index) {
    if (q->taken == q->size && !queue_turn(q)) {
        return 0;
    }
    *index = q->base + (q->sorted ? q->order[q->taken] : q->taken);
    q->taken++;
    return 1;
}

/* Whether the next `n` messages come as they lie; then *index is the first of them. */
static inline int queue_next_row(queue *q, size_t n, size_t *index) {
    if (q->sorted || q->size - q->taken < n) {
        return 0;
    }
    *index = q->base + q->taken;
    q->taken += n;
    return 1;
}

#endif
