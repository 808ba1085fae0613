/* Roots, content digests and the content root. The claimed counts say where to cut, so only roots and bytes are compared. */
#include "window.h"

/* Scratch: where each block begins, sizes for the trees, leaves that are overwritten, roots and then content digests. */
size_t baash_window_blocks_words(size_t transactions, size_t blocks) {
    return (blocks + 1) + blocks + 4 * transactions + 4 * blocks;
}

static int cut(uint64_t *offsets, const baash_window *w, const baash_transaction_info *info) {
    offsets[0] = 0;
    for (size_t i = 0; i < w->entry_count; i++) {
        offsets[i + 1] = offsets[i] + entry_transactions(w, i);
        const baash_transaction_info *last = &info[offsets[i + 1] - 1];
        uint64_t bytes = last->start + last->total_bytes - info[offsets[i]].start;
        if (bytes != load32(w->entries + ENTRY_BYTES * i + AT_ENTRY_BYTES)) {
            return 0;
        }
    }
    return 1;
}

int baash_window_blocks_hold(int *holds, uint64_t *work, const baash_window *w, const baash_transaction_info *info,
                             const uint8_t *ids, size_t count, int kernel) {
    size_t blocks = w->entry_count, at;
    uint64_t *offsets = work, *sizes = offsets + blocks + 1;
    uint8_t *leaves = (uint8_t *)(sizes + blocks), *roots = leaves + 32 * count, root[32];
    *holds = cut(offsets, w, info);
    if (!*holds) {
        return BAASH_OK;
    }
    memcpy(leaves, ids, 32 * count);
    int status = baash_merkle_roots(roots, &at, leaves, count, sizes, offsets, blocks, kernel);
    for (size_t i = 0; i < blocks && status == BAASH_OK; i++) {
        *holds &= memcmp(roots + 32 * i, w->entries + ENTRY_BYTES * i, 32) == 0;
    }
    if (!*holds || status != BAASH_OK) {
        return status;
    }
    uint8_t *digests = roots; /* the entries are what they say, and hold the roots too */
    status = baash_block_contents(digests, w->entries, blocks, load32(w->header + AT_CLUSTER), kernel);
    if (status == BAASH_OK) {
        offsets[1] = blocks;
        status = baash_merkle_roots(root, &at, digests, blocks, sizes, offsets, 1, kernel);
    }
    *holds = status == BAASH_OK && memcmp(root, w->header + AT_CONTENT_ROOT, 32) == 0;
    return status;
}
