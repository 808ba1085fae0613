/* Many messages side by side, one a lane: what is the same for every instruction set with vectors. Not public.
 *
 * Included once by a kernel's file, which first defines LANES, FROM (with fewer in flight they are handed over where that is
 * possible) and KERNEL (its target attribute), and behind it
 *   restart(l, fresh)         the initial state in the lanes of a bit mask,
 *   advance_whole(l, blocks)  `blocks` whole blocks in every lane,
 *   advance_edge(l)           one block in every lane, which may end inside of it,
 *   ended(l)                  a bit mask: the lanes with left < -8, and
 *   emit(l, through)          the hashes of the lanes of a bit mask.
 *
 * Theory. A lane is described by where its next byte lies and by how many are `left`. A block with left >= 64 is bytes
 * alone. With 0 <= left < 64 the 0x80 comes behind the last byte, and where left < 56 there is room for the length, and
 * the block is the last one. With 56 <= left < 64 a block follows whose left is negative: nothing but zeros and the
 * length. So one number says all, and after the last block it is below -8.
 * All lanes take the whole blocks that all of them have, then one edge block; lanes that are through take the next
 * message while the others go on. A lane without a message does what a busy one does, to no effect. */
#include "queue.h"

#define ALL_LANES ((UINT64_C(1) << LANES) - 1)

typedef struct lanes {
    uint32_t state[8][LANES] __attribute__((aligned(64)));
    const uint8_t *next[LANES] __attribute__((aligned(64)));
    int64_t left[LANES] __attribute__((aligned(64)));
    uint64_t length[LANES] __attribute__((aligned(64)));
    uint8_t *out[LANES];
    uint64_t busy; /* a bit a lane */
    uint64_t constant_for; /* of KERNEL's own use, 0 at first */
    uint32_t constants[64];
} lanes;

KERNEL static inline void restart(lanes *l, uint64_t fresh);
KERNEL static void advance_whole(lanes *l, uint64_t blocks);
KERNEL static void advance_edge(lanes *l);
KERNEL static inline uint64_t ended(const lanes *l);
KERNEL static inline void emit(lanes *l, uint64_t through);

/* Where the messages of a batch lie. */
typedef struct batch {
    uint8_t *out;
    const uint8_t *data;
    const uint64_t *starts, *lengths;
    queue queue;
} batch;

KERNEL static inline void take(lanes *l, const batch *b, int i, size_t index) {
    l->next[i] = b->data + b->starts[index];
    l->left[i] = (int64_t)b->lengths[index];
    l->length[i] = b->lengths[index];
    l->out[i] = b->out + 32 * index;
}

/* The lanes of `idle` take messages, as far as there are any. */
KERNEL static inline void refill(lanes *l, batch *b, uint64_t idle) {
    uint64_t fresh = 0;
    size_t index;
    if (idle == ALL_LANES && queue_next_row(&b->queue, LANES, &index)) {
        for (int i = 0; i < LANES; i++) {
            take(l, b, i, index + (size_t)i);
        }
        fresh = ALL_LANES;
    }
    for (idle &= ~fresh; idle && queue_next(&b->queue, &index); idle &= idle - 1) {
        int i = __builtin_ctzll(idle);
        take(l, b, i, index);
        fresh |= UINT64_C(1) << i;
    }
    l->busy |= fresh;
    restart(l, fresh);
}

KERNEL static inline void shadow(lanes *l) {
    int first = __builtin_ctzll(l->busy);
    for (uint64_t idle = ALL_LANES & ~l->busy; idle; idle &= idle - 1) {
        int i = __builtin_ctzll(idle);
        l->next[i] = l->next[first];
        l->left[i] = l->left[first];
        l->length[i] = l->length[first];
    }
}

KERNEL static inline void step(lanes *l) {
    int64_t least = l->left[0];
    for (int i = 1; i < LANES; i++) {
        least = l->left[i] < least ? l->left[i] : least;
    }
    if (least >= 64) {
        int64_t bytes = least & ~INT64_C(63);
        advance_whole(l, (uint64_t)bytes >> 6);
        for (int i = 0; i < LANES; i++) {
            l->next[i] += bytes;
            l->left[i] -= bytes;
        }
    }
    advance_edge(l);
    for (int i = 0; i < LANES; i++) {
        l->next[i] += l->left[i] > 64 ? 64 : 0;
        l->left[i] -= 64;
    }
}

KERNEL static inline size_t run_lanes(uint8_t *out, baash_sha256_begun *begun, const uint8_t *data,
                                      const uint64_t *starts, const uint64_t *lengths, size_t count) {
    lanes l;
    batch b = {.out = out, .data = data, .starts = starts, .lengths = lengths};
    size_t handed = 0;
    queue_begin(&b.queue, lengths, count);
    memset(l.state, 0, sizeof l.state);
    l.busy = 0;
    l.constant_for = 0;
    refill(&l, &b, ALL_LANES);
    while (l.busy && !(begun && l.busy != ALL_LANES && __builtin_popcountll(l.busy) < FROM)) {
        if (l.busy != ALL_LANES) {
            shadow(&l);
        }
        step(&l);
        const uint64_t through = ended(&l) & l.busy;
        if (through) {
            emit(&l, through);
            l.busy &= ~through;
            refill(&l, &b, through);
        }
    }
    for (uint64_t rest = l.busy; rest; rest &= rest - 1) {
        int i = __builtin_ctzll(rest);
        baash_sha256_begun *one = &begun[handed++];
        for (int k = 0; k < 8; k++) {
            one->state[k] = l.state[k][i];
        }
        one->next = l.next[i], one->left = l.left[i], one->length = l.length[i], one->out = l.out[i];
    }
    return handed;
}
