/* Collects inner nodes, SHA-256(0x01 ‖ left ‖ right), and hashes them many at a time. Not public.
 *
 * Left and right lie side by side. A pair is read and its hash written when the collection is flushed, in the order in
 * which pairs were added, so a level may be folded in place as long as no hash lands on a pair that is added later. */
#ifndef BAASH_NODES_H
#define BAASH_NODES_H

#include "../sha256/sha256.h"

enum { NODES = 256 };

typedef struct nodes {
    int kernel;
    size_t count;
    uint8_t *to[NODES];
    const uint8_t *from[NODES];
} nodes;

static inline void baash_nodes_flush(nodes *n) {
    baash_sha256_nodes(n->to, n->from, n->count, n->kernel);
    n->count = 0;
}

static inline void baash_nodes_add(nodes *n, uint8_t *to, const uint8_t *pair) {
    n->to[n->count] = to;
    n->from[n->count] = pair;
    if (++n->count == NODES) {
        baash_nodes_flush(n);
    }
}

/* The pairs of one level of one tree: rows 0 … size / 2 of `level` become their hashes. Pending until a flush. */
static inline void baash_nodes_add_level(nodes *n, uint8_t *level, uint64_t size) {
    for (uint64_t j = 0; j < size / 2; j++) {
        baash_nodes_add(n, level + 32 * j, level + 64 * j);
    }
}

/* After the flush: a last row without a neighbour moves up. The size of the level above. */
static inline uint64_t baash_nodes_close_level(uint8_t *level, uint64_t size) {
    if (size & 1) {
        memmove(level + 32 * (size / 2), level + 32 * (size - 1), 32);
    }
    return size / 2 + (size & 1);
}

/* root = SHA-256(0x01 ‖ left ‖ right); root may be one of them. */
static inline void baash_nodes_join(uint8_t *root, const uint8_t *left, const uint8_t *right, int kernel) {
    uint8_t pair[64];
    const uint8_t *from = pair;
    memcpy(pair, left, 32);
    memcpy(pair + 32, right, 32);
    baash_sha256_nodes(&root, &from, 1, kernel);
}

#endif
