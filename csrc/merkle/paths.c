/* Inclusion paths: of one leaf, of all leaves, and back from a leaf to the root (RFC 9162 section 2.1.3). */
#include "nodes.h"

int baash_merkle_path(uint8_t *path, size_t *path_rows, uint8_t *work, size_t leaves, uint64_t index, int kernel) {
    nodes n = {.kernel = kernel};
    uint64_t size = leaves;
    *path_rows = 0;
    if (!baash_sha256_usable(kernel)) {
        return BAASH_E_KERNEL;
    }
    if (index >= leaves) {
        return BAASH_E_RANGE;
    }
    while (size > 1) {
        if ((index ^ 1) < size) {
            memcpy(path + 32 * (*path_rows)++, work + 32 * (index ^ 1), 32);
        }
        baash_nodes_add_level(&n, work, size);
        baash_nodes_flush(&n);
        size = baash_nodes_close_level(work, size);
        index >>= 1;
    }
    return BAASH_OK;
}

int baash_merkle_fold(uint8_t *root, const uint8_t *leaf, uint64_t index, uint64_t size, const uint8_t *path,
                      size_t path_rows, int kernel) {
    uint64_t last = size - 1;
    size_t row = 0;
    if (!baash_sha256_usable(kernel)) {
        return BAASH_E_KERNEL;
    }
    if (index >= size) {
        return BAASH_E_RANGE;
    }
    memcpy(root, leaf, 32);
    for (; last; index >>= 1, last >>= 1) {
        if (!(index & 1) && index == last) {
            continue; /* no neighbour on this level */
        }
        if (row == path_rows) {
            return BAASH_E_VALUE;
        }
        const uint8_t *neighbour = path + 32 * row++;
        baash_nodes_join(root, index & 1 ? neighbour : root, index & 1 ? root : neighbour, kernel);
    }
    return row == path_rows ? BAASH_OK : BAASH_E_VALUE;
}

int baash_merkle_paths(uint8_t *paths, uint8_t *path_rows, uint8_t *work, size_t leaves, size_t depth, int kernel) {
    nodes n = {.kernel = kernel};
    uint64_t size = leaves;
    if (!baash_sha256_usable(kernel)) {
        return BAASH_E_KERNEL;
    }
    if (depth < 64 && leaves > (size_t)1 << depth) {
        return BAASH_E_VALUE;
    }
    memset(path_rows, 0, leaves);
    for (int level = 0; size > 1; level++) {
        for (size_t i = 0; i < leaves; i++) {
            const uint64_t neighbour = i >> level ^ 1;
            if (neighbour < size) {
                memcpy(paths + 32 * (depth * i + path_rows[i]++), work + 32 * neighbour, 32);
            }
        }
        baash_nodes_add_level(&n, work, size);
        baash_nodes_flush(&n);
        size = baash_nodes_close_level(work, size);
    }
    return BAASH_OK;
}
