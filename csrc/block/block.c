/* Content digests and the chain of block headers (docs/ledger-format.md section 4). */
#include "../sha256/sha256.h"

enum { TAG_CONTENT = 3, VERSION = 1, ENTRY_BYTES = 40, CONTENT_BYTES = 48 };
enum { ROW_BYTES = 128, HEADER_BYTES = 112, AT_HEIGHT = 8, AT_PARENT = 80 };
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
