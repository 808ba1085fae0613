/* A window out of any bytes, for the fuzzer and the C tests. Parts are exactly sized pieces of the heap, so the address
 * sanitizer sees one byte too many.
 *
 * Random bytes never get past a hash. So the first byte of an input says what is mended before the window is checked, and
 * a mutation of anything else then reaches what lies behind it:
 *   u1 mend, u1, u2 block size, u2 entries, u2 entities; header (208); entries (40 each); list (8 each); records (the rest) */
#ifndef BAASH_WINDOW_INPUT_H
#define BAASH_WINDOW_INPUT_H

#include "../bytes.h"
#include "../tests/test.h"

enum { MEND_RECORDS = 1, MEND_ENTRIES = 2, MEND_LIST = 4, MEND_COUNTS = 8, MEND_HASHES = 16, MEND_ALL = 31 };
enum { INPUT_HEAD = 8, WINDOW_HEADER = 208 };

typedef struct window_input {
    uint8_t *header, *entries, *list, *records;
    size_t entry_count, entity_count, records_bytes;
    uint32_t block_size;
} window_input;

static inline baash_window window_of(const window_input *in) {
    return (baash_window){in->header,      in->entries,      in->list,         in->records,
                          in->entry_count, in->entity_count, in->records_bytes};
}

/* The next `bytes` of the input in a piece of their own; what is not there is zeros. */
static inline uint8_t *take(const uint8_t **data, size_t *left, size_t bytes) {
    uint8_t *piece = room(bytes);
    size_t there = bytes < *left ? bytes : *left;
    memset(piece, 0, bytes);
    if (there) {
        memcpy(piece, *data, there);
    }
    *data += there, *left -= there;
    return piece;
}

/* Makes records of bytes: fields become legal, lengths short enough to fit; what is so already stays as it is. What is
 * left at the end is cut off. */
static inline void mend_records(window_input *in) {
    uint8_t *p = in->records;
    size_t left = in->records_bytes;
    while (left >= 72) {
        int operation = 1 + (p[3] + 4) % 5, is_signed = p[4] & 1;
        uint32_t entity = 1 + (load16(p + 6) + 63u) % 64u, references = load16(p + 56) % 3u, payload = load32(p + 12) % 128;
        uint32_t names = 64 + (entity + 7) / 8 * 8 + 32 * references;
        uint32_t total = names + (payload + 7) / 8 * 8 + (is_signed ? 96 : 0);
        if (total > left) {
            is_signed = 0, entity = 1, references = payload = 0, names = total = 72;
        }
        p[0] = 0, p[1] = 1, p[2] = 1, p[3] = (uint8_t)operation;
        store16(p + 4, (uint16_t)is_signed), store16(p + 6, (uint16_t)entity);
        store32(p + 8, total), store32(p + 12, payload);
        p[16] = (uint8_t)((p[16] & 0x7f) | is_signed << 7);
        if (operation != UPDATE && operation != RETIRE) {
            store64(p + 48, ANY_VERSION);
        }
        store16(p + 56, (uint16_t)references), store16(p + 60, 0);
        p[62] = 0, p[63] = 2;
        memset(p + 64 + entity, 0, (8 - entity % 8) % 8);
        memset(p + names + payload, 0, (8 - payload % 8) % 8);
        p += total, left -= total;
    }
    uint8_t *exact = room(in->records_bytes - left);
    in->records_bytes -= left;
    memcpy(exact, in->records, in->records_bytes);
    free(in->records);
    in->records = exact;
}

/* Blocks over the good records: counts as they came where these can be, sizes and roots as they are. */
static inline void mend_entries(window_input *in, const baash_transaction_info *info, const uint8_t *ids, size_t count) {
    uint8_t *entries = room(40 * count), *leaves = room(32 * count);
    uint64_t *offsets = room(8 * (count + 1)), *sizes = room(8 * (count + 1));
    size_t blocks = 0, at;
    offsets[0] = 0;
    for (; offsets[blocks] < count; blocks++) {
        uint32_t claimed = in->entry_count ? load32(in->entries + 40 * (blocks % in->entry_count) + 32) : 3;
        uint64_t n = in->block_size ? 1 + (claimed - 1) % in->block_size : 1;
        uint64_t rest = count - offsets[blocks];
        n = n < rest ? n : rest;
        const baash_transaction_info *last = &info[offsets[blocks] + n - 1];
        store32(entries + 40 * blocks + 32, (uint32_t)n);
        store32(entries + 40 * blocks + 36, (uint32_t)(last->start + last->total_bytes - info[offsets[blocks]].start));
        offsets[blocks + 1] = offsets[blocks] + n;
    }
    uint8_t *roots = room(32 * blocks);
    memcpy(leaves, ids, 32 * count);
    CHECK(baash_merkle_roots(roots, &at, leaves, count, sizes, offsets, blocks, BAASH_CHOSEN) == BAASH_OK);
    for (size_t i = 0; i < blocks; i++) {
        memcpy(entries + 40 * i, roots + 32 * i, 32);
    }
    free(in->entries);
    in->entries = memcpy(room(40 * blocks), entries, 40 * blocks), in->entry_count = blocks;
    free(entries), free(leaves), free(offsets), free(sizes), free(roots);
}

static inline int by_size(const void *a, const void *b) {
    uint64_t x = load64(a), y = load64(b);
    return (x > y) - (x < y);
}

static inline void mend_list(window_input *in, const baash_transaction_info *info, const uint8_t *entities, size_t count) {
    uint8_t *list = room(8 * count);
    size_t rows = 0, kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (info[i].operation != USE && info[i].operation != NOTE) {
            memcpy(list + 8 * rows++, entities + 32 * i, 8);
        }
    }
    qsort(list, rows, 8, by_size);
    for (size_t i = 0; i < rows; i++) {
        if (!kept || load64(list + 8 * kept - 8) != load64(list + 8 * i)) {
            memmove(list + 8 * kept++, list + 8 * i, 8);
        }
    }
    free(in->list);
    in->list = memcpy(room(8 * kept), list, 8 * kept), in->entity_count = kept;
    free(list);
}

static inline void mend_hashes(window_input *in) {
    uint8_t *digests = room(32 * in->entry_count), *message = room(8 + 8 * in->entity_count);
    uint64_t offsets[2] = {0, in->entry_count}, size, start = 0, length = 8 + 8 * in->entity_count;
    size_t at;
    CHECK(baash_block_contents(digests, in->entries, in->entry_count, load32(in->header + 4), BAASH_CHOSEN) == BAASH_OK);
    CHECK(baash_merkle_roots(in->header + 144, &at, digests, in->entry_count, &size, offsets, 1, BAASH_CHOSEN) ==
          BAASH_OK);
    store32(message, 0x010700), store32(message + 4, (uint32_t)in->entity_count);
    memcpy(message + 8, in->list, 8 * in->entity_count);
    CHECK(baash_sha256_spans(in->header + 176, &at, message, length, &start, &length, 1, BAASH_CHOSEN, 1) == BAASH_OK);
    free(digests), free(message);
}

static inline void mend(window_input *in, int what) {
    if (what & MEND_RECORDS) {
        mend_records(in);
    }
    size_t most = in->records_bytes / 72 + 1, count = 0, at;
    baash_transaction_info *info = room(sizeof *info * most);
    uint8_t *ids = room(32 * most), *entities = room(32 * most);
    uint64_t position = 0;
    int reason;
    CHECK(baash_transaction_read(info, ids, entities, &count, &position, &reason, &at, most, in->records,
                                 in->records_bytes, BAASH_CHOSEN) == BAASH_OK);
    if (what & MEND_ENTRIES) {
        mend_entries(in, info, ids, count);
    }
    if (what & MEND_LIST) {
        mend_list(in, info, entities, count);
    }
    if (what & MEND_COUNTS) {
        store32(in->header + 12, (uint32_t)in->entry_count), store64(in->header + 32, in->records_bytes);
        store32(in->header + 40, (uint32_t)count), store32(in->header + 44, (uint32_t)in->entity_count);
    }
    if (what & MEND_HASHES) {
        mend_hashes(in);
    }
    free(info), free(ids), free(entities);
}

static inline window_input open_input(const uint8_t *data, size_t size) {
    uint8_t *head = take(&data, &size, INPUT_HEAD);
    window_input in = {.block_size = load16(head + 2), .entry_count = load16(head + 4), .entity_count = load16(head + 6)};
    in.header = take(&data, &size, WINDOW_HEADER);
    in.entry_count = in.entry_count < size / 40 ? in.entry_count : size / 40; /* never more than came */
    in.entries = take(&data, &size, 40 * in.entry_count);
    in.entity_count = in.entity_count < size / 8 ? in.entity_count : size / 8;
    in.list = take(&data, &size, 8 * in.entity_count);
    in.records_bytes = size;
    in.records = take(&data, &size, size);
    mend(&in, head[0]);
    free(head);
    return in;
}

static inline void close_input(window_input *in) { free(in->header), free(in->entries), free(in->list), free(in->records); }

#endif
