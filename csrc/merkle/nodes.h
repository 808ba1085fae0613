/* Collects inner nodes, SHA-256(0x01 ‖ left ‖ right), and hashes them many at a time. Not public.
 *
 * A pair is copied when it is added and its hash written when the collection is flushed, so a level may be folded in
 * place as long as no hash lands on a row that is still to be added. */
#ifndef BAASH_NODES_H
#define BAASH_NODES_H

#include "../sha256/sha256.h"

enum { NODES = 64, NODE_BYTES = 65 };

typedef struct nodes {
    baash_sha256_fn *hash;
    size_t count;
    uint8_t *to[NODES];
    uint64_t starts[NODES], lengths[NODES];
    uint8_t messages[NODES * NODE_BYTES];
    uint8_t hashes[NODES * 32];
} nodes;

/* 0 when the kernel cannot run. */
int baash_nodes_begin(nodes *n, int kernel);
void baash_nodes_flush(nodes *n);

static inline void baash_nodes_add(nodes *n, uint8_t *to, const uint8_t *left, const uint8_t *right) {
    uint8_t *message = n->messages + n->count * NODE_BYTES;
    message[0] = 0x01;
    memcpy(message + 1, left, 32);
    memcpy(message + 33, right, 32);
    n->starts[n->count] = n->count * NODE_BYTES;
    n->lengths[n->count] = NODE_BYTES;
    n->to[n->count] = to;
    if (++n->count == NODES) {
        baash_nodes_flush(n);
    }
}

#endif
