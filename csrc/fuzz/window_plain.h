/* The same verdict, deliberately dumb: one record at a time, trees by their definition, every entity and every pair
 * against all others. What the kernel says must be what this says, to the index. */
#ifndef BAASH_WINDOW_PLAIN_H
#define BAASH_WINDOW_PLAIN_H

#include "window_input.h"

static inline void plain_hash(uint8_t out[32], const uint8_t *data, size_t bytes) {
    uint64_t start = 0, length = bytes;
    size_t at;
    CHECK(baash_sha256_spans(out, &at, data, bytes, &start, &length, 1, 0, 1) == BAASH_OK);
}

/* RFC 9162 section 2.1.1, n >= 1 */
static inline void plain_root(uint8_t out[32], const uint8_t *leaves, size_t n) {
    uint8_t node[65] = {1};
    size_t left = 1;
    if (n == 1) {
        memcpy(out, leaves, 32);
        return;
    }
    while (2 * left < n) {
        left *= 2;
    }
    plain_root(node + 1, leaves, left);
    plain_root(node + 33, leaves + 32 * left, n - left);
    plain_hash(out, node, sizeof node);
}

static inline int plain_blocks(const baash_window *w, const baash_transaction_info *info, const uint8_t *ids, size_t n,
                               uint32_t block_size) {
    uint8_t *digests = room(32 * w->entry_count), content[48] = {0, 3, 1, 0}, root[32] = {0};
    size_t done = 0;
    int good = 1;
    for (size_t i = 0; i < w->entry_count && good; i++) {
        const uint8_t *entry = w->entries + 40 * i;
        uint32_t count = load32(entry + 32);
        uint64_t bytes = 0;
        good = count > 0 && count <= block_size && count <= n - done;
        for (uint32_t j = 0; good && j < count; j++) {
            bytes += info[done + j].total_bytes;
        }
        if (good) {
            plain_root(root, ids + 32 * done, count);
            good = bytes == load32(entry + 36) && memcmp(root, entry, 32) == 0;
        }
        memcpy(content + 4, w->header + 4, 4), memcpy(content + 8, entry + 32, 8), memcpy(content + 16, entry, 32);
        plain_hash(digests + 32 * i, content, sizeof content);
        done += count;
    }
    if (good && w->entry_count) {
        plain_root(root, digests, w->entry_count);
    }
    free(digests);
    return good && done == n && memcmp(root, w->header + 144, 32) == 0;
}

static inline int plain_writes(const baash_transaction_info *info) {
    return info->operation == CREATE || info->operation == UPDATE || info->operation == RETIRE;
}

static inline int plain_list(const baash_window *w, const baash_transaction_info *info, const uint8_t *names, size_t n) {
    size_t rows = w->entity_count;
    uint8_t *message = room(8 + 8 * rows), digest[32];
    int good = 1;
    store32(message, 0x010700), store32(message + 4, (uint32_t)rows);
    memcpy(message + 8, w->entities, 8 * rows);
    plain_hash(digest, message, 8 + 8 * rows);
    free(message);
    for (size_t row = 0; row < rows; row++) {
        int written = 0;
        for (size_t i = 0; i < n; i++) {
            written |= plain_writes(&info[i]) && memcmp(names + 32 * i, w->entities + 8 * row, 8) == 0;
        }
        good &= written && (row == 0 || load64(w->entities + 8 * row - 8) < load64(w->entities + 8 * row));
    }
    for (size_t i = 0; i < n; i++) {
        int listed = !plain_writes(&info[i]);
        for (size_t row = 0; row < rows; row++) {
            listed |= memcmp(names + 32 * i, w->entities + 8 * row, 8) == 0;
        }
        good &= listed;
    }
    return good && memcmp(digest, w->header + 176, 32) == 0;
}

/* Fills info, ids and names (records_bytes / 72 rows), too. */
static inline baash_window_verdict plain_verdict(const baash_window *w, uint32_t block_size, baash_transaction_info *info,
                                                 uint8_t *ids, uint8_t *names) {
    baash_window_verdict verdict = {.reason = REASON_WINDOW_MISMATCH};
    uint64_t position = 0;
    size_t n = 0, end = 0;
    int reason = 0;
    while (position < w->records_bytes && !reason) {
        baash_transaction_info one;
        size_t count = 0;
        uint64_t start = position;
        baash_transaction_scan(&one, &count, &position, &reason, 1, w->records, w->records_bytes);
        if (count) {
            info[n] = one;
            plain_hash(ids + 32 * n, w->records + start, one.total_bytes);
            plain_hash(names + 32 * n, w->records + start + 62, 2 + (size_t)one.entity_bytes);
            n++;
        }
    }
    if (reason) {
        verdict.reason = (uint16_t)reason, verdict.bad_index = n;
        return verdict;
    }
    if (n == 0 || load32(w->header + 40) != n || load32(w->header + 12) != w->entry_count ||
        load64(w->header + 32) != w->records_bytes || load32(w->header + 44) != w->entity_count ||
        !plain_blocks(w, info, ids, n, block_size) || !plain_list(w, info, names, n)) {
        return verdict;
    }
    verdict = (baash_window_verdict){.transactions = n, .whole = 1, .valid_blocks = (uint32_t)w->entry_count};
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            if (info[i].sequence == info[j].sequence && memcmp(info[i].issuer, info[j].issuer, 16) == 0) {
                verdict.reason = REASON_REPLAYED, verdict.bad_index = i, verdict.valid_blocks = 0;
                for (end = load32(w->entries + 32); end <= i; verdict.valid_blocks++) {
                    end += load32(w->entries + 40 * (verdict.valid_blocks + 1) + 32);
                }
                return verdict;
            }
        }
    }
    return verdict;
}

#endif
