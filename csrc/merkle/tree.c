/* Whole trees, level by level: neighbours are hashed in pairs and a last one without a neighbour moves up as it is.
 * That gives the trees of RFC 9162, whose left subtree has the largest power of two of leaves. Many small trees fill
 * the kernel's lanes together. */
#include "nodes.h"

static const uint8_t empty_root[32] = {
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
};

/* The pairs of one level of one tree: rows 0 … size / 2 of `level` become their hashes. Pending until a flush. */
static void add_pairs(nodes *n, uint8_t *level, uint64_t size) {
    for (uint64_t j = 0; j < size / 2; j++) {
        baash_nodes_add(n, level + 32 * j, level + 64 * j);
    }
}

/* After the flush: a last row without a neighbour moves up. The size of the level above. */
static uint64_t close_level(uint8_t *level, uint64_t size) {
    if (size & 1) {
        memmove(level + 32 * (size / 2), level + 32 * (size - 1), 32);
    }
    return size / 2 + (size & 1);
}

int baash_merkle_roots(uint8_t *roots, size_t *at, uint8_t *work, size_t leaves, uint64_t *sizes,
                       const uint64_t *offsets, size_t trees, int kernel) {
    nodes n = {.kernel = kernel};
    int more = 1;
    if (!baash_sha256_usable(kernel)) {
        return BAASH_E_KERNEL;
    }
    for (size_t i = 0; i < trees; i++) {
        if (offsets[i + 1] < offsets[i] || offsets[i + 1] > leaves) {
            *at = i;
            return offsets[i + 1] < offsets[i] ? BAASH_E_ORDER : BAASH_E_RANGE;
        }
        sizes[i] = offsets[i + 1] - offsets[i];
    }
    while (more) {
        more = 0;
        for (size_t i = 0; i < trees; i++) {
            add_pairs(&n, work + 32 * offsets[i], sizes[i]);
        }
        baash_nodes_flush(&n);
        for (size_t i = 0; i < trees; i++) {
            if (sizes[i] > 1) {
                sizes[i] = close_level(work + 32 * offsets[i], sizes[i]);
                more |= sizes[i] > 1;
            }
        }
    }
    for (size_t i = 0; i < trees; i++) {
        memcpy(roots + 32 * i, sizes[i] ? work + 32 * offsets[i] : empty_root, 32);
    }
    return BAASH_OK;
}

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
        add_pairs(&n, work, size);
        baash_nodes_flush(&n);
        size = close_level(work, size);
        index >>= 1;
    }
    return BAASH_OK;
}

/* root = SHA-256(0x01 ‖ left ‖ right); root may be one of them. */
static void join(uint8_t *root, const uint8_t *left, const uint8_t *right, int kernel) {
    uint8_t pair[64];
    const uint8_t *from = pair;
    memcpy(pair, left, 32);
    memcpy(pair + 32, right, 32);
    baash_sha256_nodes(&root, &from, 1, kernel);
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
        join(root, index & 1 ? neighbour : root, index & 1 ? root : neighbour, kernel);
    }
    return row == path_rows ? BAASH_OK : BAASH_E_VALUE;
}

/* Of baash_merkle_frontier; here because the empty root is. */
int baash_merkle_frontier(uint8_t *root, const uint8_t *frontier, uint64_t size, int kernel) {
    int k = 0;
    if (!baash_sha256_usable(kernel)) {
        return BAASH_E_KERNEL;
    }
    if (!size) {
        memcpy(root, empty_root, 32);
        return BAASH_OK;
    }
    while (!(size >> k & 1)) {
        k++;
    }
    memcpy(root, frontier + 32 * k, 32);
    while (++k < 64) {
        if (size >> k & 1) {
            join(root, frontier + 32 * k, root, kernel);
        }
    }
    return BAASH_OK;
}
