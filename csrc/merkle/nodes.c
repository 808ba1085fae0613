/* See nodes.h. */
#include "nodes.h"

int baash_nodes_begin(nodes *n, int kernel) {
    n->hash = baash_sha256_get(kernel);
    n->count = 0;
    return n->hash != NULL;
}

void baash_nodes_flush(nodes *n) {
    n->hash(n->hashes, n->messages, n->starts, n->lengths, n->count);
    for (size_t i = 0; i < n->count; i++) {
        memcpy(n->to[i], n->hashes + 32 * i, 32);
    }
    n->count = 0;
}
