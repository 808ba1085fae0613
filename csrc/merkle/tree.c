/* Whole trees, level by level: neighbours are hashed in pairs and a last one without a neighbour moves up as it is.
 * That gives the trees of RFC 9162, whose left subtree has the largest power of two of leaves. Many small trees fill
 * the kernel's lanes together. */
#include "nodes.h"

static const uint8_t empty_root[32] = {
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
};

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
            baash_nodes_add_level(&n, work + 32 * offsets[i], sizes[i]);
        }
        baash_nodes_flush(&n);
        for (size_t i = 0; i < trees; i++) {
            if (sizes[i] > 1) {
                sizes[i] = baash_nodes_close_level(work + 32 * offsets[i], sizes[i]);
                more |= sizes[i] > 1;
            }
        }
    }
    for (size_t i = 0; i < trees; i++) {
        memcpy(roots + 32 * i, sizes[i] ? work + 32 * offsets[i] : empty_root, 32);
    }
    return BAASH_OK;
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
            baash_nodes_join(root, frontier + 32 * k, root, kernel);
        }
    }
    return BAASH_OK;
}
