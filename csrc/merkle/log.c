/* A growing tree, of which only the perfect subtrees are kept: one for each set bit of the size.
 *
 * All new nodes of a level are made together. On level k they begin at index size >> k; when that is odd, the left
 * neighbour of the first is frontier[k], which is thereby used up. What is left over at the right end is the perfect
 * subtree of that level in the new tree. */
#include "nodes.h"

int baash_merkle_append(uint8_t *frontier, uint8_t *work, uint64_t size, const uint8_t *leaves, size_t count,
                        int kernel) {
    nodes n = {.kernel = kernel};
    uint8_t *fresh = work + 32; /* row 0 is for a left neighbour */
    uint64_t rows = count;
    if (!baash_sha256_usable(kernel)) {
        return BAASH_E_KERNEL;
    }
    if (size >> 63 || count >> 62 || (size + count) >> 63) {
        return BAASH_E_VALUE;
    }
    if (count) {
        memcpy(fresh, leaves, 32 * count);
    }
    for (int k = 0; rows; k++) {
        uint8_t *row = frontier + 32 * k, *level = fresh;
        if (size >> k & 1) {
            memcpy(work, row, 32);
            memset(row, 0, 32);
            level = work;
            rows++;
        }
        for (uint64_t j = 0; j < rows / 2; j++) {
            baash_nodes_add(&n, fresh + 32 * j, level + 64 * j);
        }
        if (rows & 1) {
            memcpy(row, level + 32 * (rows - 1), 32);
        }
        baash_nodes_flush(&n);
        rows /= 2;
    }
    return BAASH_OK;
}
