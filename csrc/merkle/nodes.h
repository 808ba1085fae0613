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

#endif
