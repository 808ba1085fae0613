/* Content digests and the chain of block headers (docs/ledger-format.md section 4). */
#include "../sha256/sha256.h"

enum { TAG_CONTENT = 3, TAG_HEADER = 4, VERSION = 1, ENTRY_BYTES = 40, CONTENT_BYTES = 48 };
enum { ROW_BYTES = 128, HEADER_BYTES = 112 };
enum { AT_CLUSTER = 4, AT_HEIGHT = 8, AT_VIEW = 16, AT_WINDOW = 24, AT_COUNT = 40, AT_CONTENT = 48, AT_PARENT = 80 };
enum { AT_OFFSET = 112, AT_FIRST_TRANSACTION = 120 };
enum { CHUNK = 256 };

int baash_block_contents(uint8_t *out, const uint8_t *entries, size_t count, uint32_t cluster, int kernel) {
    uint8_t contents[CHUNK * CONTENT_BYTES];
    uint64_t starts[CHUNK], lengths[CHUNK];
    if (!baash_sha256_usable(kernel)) {
        return BAASH_E_KERNEL;
    }
    for (size_t done = 0; done < count; done += CHUNK) {
        size_t n = count - done < CHUNK ? count - done : CHUNK;
        for (size_t i = 0; i < n; i++) {
            const uint8_t *entry = entries + ENTRY_BYTES * (done + i); /* h32 root, u4 count, u4 bytes */
            uint8_t *content = contents + CONTENT_BYTES * i;
            store32(content, (uint32_t)TAG_CONTENT << 8 | (uint32_t)VERSION << 16);
            store32(content + 4, cluster);
            memcpy(content + 8, entry + 32, 8);
            memcpy(content + 16, entry, 32);
            starts[i] = CONTENT_BYTES * i, lengths[i] = CONTENT_BYTES;
        }
        baash_sha256_hash(out + 32 * done, contents, starts, lengths, n, kernel);
    }
    return BAASH_OK;
}

int baash_block_chain(uint8_t *hashes, uint8_t *rows, size_t count, uint64_t height, const uint8_t *parent,
                      int kernel) {
    const uint64_t start = 0, length = HEADER_BYTES;
    if (!baash_sha256_usable(kernel)) {
        return BAASH_E_KERNEL;
    }
    for (size_t i = 0; i < count; i++) {
        uint8_t *row = rows + ROW_BYTES * i;
        store64(row + AT_HEIGHT, height + i);
        memcpy(row + AT_PARENT, i ? hashes + 32 * (i - 1) : parent, 32);
        baash_sha256_hash(hashes + 32 * i, row, &start, &length, 1, kernel);
    }
    return BAASH_OK;
}

/* Whether a row is a header in its place, behind `before`, the row before it in the round or NULL. */
static int in_place(const uint8_t *row, const uint8_t *before, const uint8_t *hash_before, uint64_t height,
                    uint32_t view, uint64_t first_transaction) {
    static const uint8_t tag[4] = {0, TAG_HEADER, VERSION, 0};
    if (memcmp(row, tag, 4) != 0 || load64(row + AT_HEIGHT) != height || load32(row + AT_VIEW) != view ||
        load32(row + AT_COUNT) == 0 || load64(row + AT_FIRST_TRANSACTION) != first_transaction) {
        return 0;
    }
    if (!before) {
        return 1;
    }
    int same_window = load32(row + AT_CLUSTER) == load32(before + AT_CLUSTER) &&
                      load64(row + AT_WINDOW) == load64(before + AT_WINDOW);
    uint64_t end = load64(before + AT_OFFSET) + load32(before + AT_COUNT + 4);
    return memcmp(row + AT_PARENT, hash_before, 32) == 0 && (!same_window || load64(row + AT_OFFSET) == end);
}

int baash_block_headers(int *good, uint8_t *hashes, const uint8_t *rows, size_t blocks, uint64_t height, uint32_t view,
                        uint64_t first_transaction, int kernel) {
    int status = baash_sha256_rows(hashes, rows, ROW_BYTES, blocks, HEADER_BYTES, kernel);
    *good = status == BAASH_OK;
    for (size_t i = 0; i < blocks && *good; i++) {
        const uint8_t *row = rows + ROW_BYTES * i;
        *good = in_place(row, i ? row - ROW_BYTES : NULL, i ? hashes + 32 * (i - 1) : NULL, height + i, view,
                         first_transaction);
        first_transaction += load32(row + AT_COUNT);
    }
    return status;
}

/* Where in the records the next block begins. */
typedef struct place {
    uint64_t transaction, byte;
} place;

/* The counts and sizes of some blocks; 0: their borders are not those of records. */
static int find_borders(uint64_t *offsets, place *at, const uint8_t *rows, size_t blocks,
                        const baash_transaction_info *info, size_t count, uint64_t records_bytes) {
    const uint64_t first = at->transaction;
    offsets[0] = 0;
    for (size_t i = 0; i < blocks; i++) {
        at->transaction += load32(rows + ROW_BYTES * i + AT_COUNT);
        at->byte += load32(rows + ROW_BYTES * i + AT_COUNT + 4);
        if (at->transaction > count ||
            at->byte != (at->transaction < count ? info[at->transaction].start : records_bytes)) {
            return 0;
        }
        offsets[i + 1] = at->transaction - first;
    }
    return 1;
}

/* Whether some blocks have the content digests of their trees. */
static int contents_hold(int *status, uint8_t *work, const uint64_t *offsets, const uint8_t *rows, size_t blocks,
                         int kernel) {
    uint8_t roots[CHUNK * 32], contents[CHUNK * CONTENT_BYTES];
    uint64_t sizes[CHUNK], starts[CHUNK], lengths[CHUNK];
    size_t at;
    *status = baash_merkle_roots(roots, &at, work, offsets[blocks], sizes, offsets, blocks, kernel);
    if (*status != BAASH_OK) {
        return 0;
    }
    for (size_t i = 0; i < blocks; i++) {
        const uint8_t *row = rows + ROW_BYTES * i;
        uint8_t *content = contents + CONTENT_BYTES * i;
        store32(content, (uint32_t)TAG_CONTENT << 8 | (uint32_t)VERSION << 16);
        memcpy(content + 4, row + AT_CLUSTER, 4);
        memcpy(content + 8, row + AT_COUNT, 8);
        memcpy(content + 16, roots + 32 * i, 32);
        starts[i] = CONTENT_BYTES * i, lengths[i] = CONTENT_BYTES;
    }
    baash_sha256_hash(roots, contents, starts, lengths, blocks, kernel);
    for (size_t i = 0; i < blocks; i++) {
        if (memcmp(roots + 32 * i, rows + ROW_BYTES * i + AT_CONTENT, 32) != 0) {
            return 0;
        }
    }
    return 1;
}

int baash_block_match(int *match, uint8_t *work, const uint8_t *rows, size_t blocks, const baash_transaction_info *info,
                      size_t count, uint64_t records_bytes, int kernel) {
    uint64_t offsets[CHUNK + 1];
    place at = {0, 0};
    int status = BAASH_OK;
    *match = 0;
    if (!baash_sha256_usable(kernel)) {
        return BAASH_E_KERNEL;
    }
    for (size_t done = 0; done < blocks; done += CHUNK) {
        size_t n = blocks - done < CHUNK ? blocks - done : CHUNK;
        const uint8_t *some = rows + ROW_BYTES * done;
        uint8_t *ids = work + 32 * at.transaction;
        if (!find_borders(offsets, &at, some, n, info, count, records_bytes) ||
            !contents_hold(&status, ids, offsets, some, n, kernel)) {
            return status;
        }
    }
    *match = at.transaction == count && at.byte == records_bytes;
    return BAASH_OK;
}
