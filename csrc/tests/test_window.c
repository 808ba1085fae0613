/* Windows made of records and taken apart again: what is true is whole, what is changed is not, and the kernel never
 * reads outside or differs from the dumb second judge (csrc/fuzz/window_plain.h), whatever the bytes. */
#include "../fuzz/window_plain.h"

enum { RECORDS = 40, BYTES = 4096 };

/* Random bytes, mended to a whole window of about RECORDS records. */
static window_input drawn(uint64_t *seed, uint32_t block_size) {
    uint8_t data[INPUT_HEAD + WINDOW_HEADER + 40 + 8 + BYTES];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(draw(seed) >> 56);
    }
    data[0] = MEND_ALL;
    store16(data + 2, (uint16_t)block_size), store16(data + 4, 1), store16(data + 6, 1);
    return open_input(data, sizeof data);
}

static baash_window_verdict judged(const window_input *in) {
    baash_window w = window_of(in);
    size_t rows, words, most = in->records_bytes / 72;
    CHECK(baash_window_room(&rows, &words, &w) == BAASH_OK && rows <= most);
    baash_transaction_info *info = room(sizeof *info * rows), *plain_info = room(sizeof *info * most);
    uint8_t *ids = room(32 * rows), *names = room(32 * rows), *plain_ids = room(32 * most), *plain_names = room(32 * most);
    uint64_t *work = room(8 * words);
    baash_window_verdict found, plain = plain_verdict(&w, in->block_size, plain_info, plain_ids, plain_names);
    CHECK(baash_window_check(&found, info, ids, names, rows, work, words, &w, in->block_size, 7, BAASH_CHOSEN) == BAASH_OK);
    CHECK(found.whole == plain.whole && found.reason == plain.reason && found.bad_index == plain.bad_index);
    CHECK(found.valid_blocks == plain.valid_blocks && found.transactions == plain.transactions);
    CHECK(memcmp(info, plain_info, sizeof *info * found.transactions) == 0);
    CHECK(memcmp(ids, plain_ids, 32 * found.transactions) == 0);
    CHECK(memcmp(names, plain_names, 32 * found.transactions) == 0);
    if (found.whole) { /* a little less room is an answer, not an overrun */
        CHECK(baash_window_check(&found, info, ids, names, rows - 1, work, words, &w, in->block_size, 7, BAASH_CHOSEN) ==
              BAASH_E_FULL);
        CHECK(baash_window_check(&found, info, ids, names, rows, work, words - 1, &w, in->block_size, 7, BAASH_CHOSEN) ==
              BAASH_E_FULL);
    }
    free(info), free(plain_info), free(ids), free(names), free(plain_ids), free(plain_names), free(work);
    return plain;
}

static void whole_windows(uint64_t *seed) {
    for (uint32_t block_size = 1; block_size < 50; block_size++) {
        window_input in = drawn(seed, block_size);
        baash_window_verdict v = judged(&in);
        CHECK(v.whole && v.reason == 0 && v.valid_blocks == in.entry_count && v.transactions > 10);
        in.block_size = load32(in.entries + 32) - 1; /* the first block has one transaction too many */
        CHECK(!judged(&in).whole);
        close_input(&in);
    }
}

/* Every byte of what was sent, changed: only what the content does not depend on may be. */
static void changed_bytes(uint64_t *seed) {
    window_input in = drawn(seed, 4);
    struct { uint8_t *bytes; size_t count; } parts[] = {
        {in.header, WINDOW_HEADER}, {in.entries, 40 * in.entry_count}, {in.list, 8 * in.entity_count},
        {in.records, in.records_bytes},
    };
    for (size_t part = 0; part < 4; part++) {
        for (size_t i = 0; i < parts[part].count; i++) {
            uint8_t change = (uint8_t)(1 + draw(seed) % 255);
            int free_field = part == 0 && (i < 4 || (i >= 8 && i < 12) || (i >= 16 && i < 32) || (i >= 48 && i < 144));
            parts[part].bytes[i] ^= change;
            CHECK(judged(&in).whole == free_field);
            parts[part].bytes[i] ^= change;
        }
    }
    CHECK(judged(&in).whole);
    close_input(&in);
}

/* A block's bytes said to be the next one's, so that the sum holds, and the hashes fit what is said. */
static void moved_bytes(uint64_t *seed) {
    window_input in = drawn(seed, 4);
    uint8_t *first = in.entries + 36, *second = first + 40;
    CHECK(in.entry_count > 1);
    store32(first, load32(first) + 8), store32(second, load32(second) - 8);
    mend(&in, MEND_HASHES);
    CHECK(!judged(&in).whole);
    store32(first, load32(first) - 8), store32(second, load32(second) + 8);
    mend(&in, MEND_HASHES);
    CHECK(judged(&in).whole);
    close_input(&in);
}

/* Each part cut short, at every length. */
static void cut_parts(uint64_t *seed) {
    window_input in = drawn(seed, 4);
    window_input cut = in;
    for (size_t n = 0; n < in.records_bytes; n++) {
        cut.records = memcpy(room(n), in.records, n), cut.records_bytes = n;
        CHECK(!judged(&cut).whole);
        free(cut.records);
    }
    cut = in;
    for (size_t n = 0; n < in.entry_count; n++) {
        cut.entries = memcpy(room(40 * n), in.entries, 40 * n), cut.entry_count = n;
        CHECK(!judged(&cut).whole);
        free(cut.entries);
    }
    cut = in;
    for (size_t n = 0; n < in.entity_count; n++) {
        cut.list = memcpy(room(8 * n), in.list, 8 * n), cut.entity_count = n;
        CHECK(!judged(&cut).whole);
        free(cut.list);
    }
    close_input(&in);
}

/* A pair that comes again is named where it does, with the blocks before it; other issuers and numbers are none. */
static void repeated_pairs(uint64_t *seed) {
    for (int trial = 0; trial < 200; trial++) {
        window_input in = drawn(seed, 1 + (uint32_t)(draw(seed) % 5));
        for (size_t at = 0; at < in.records_bytes; at += load32(in.records + at + 8)) {
            memset(in.records + at + 17, 0, 15 + 8); /* issuers differ in a byte, numbers are small */
            in.records[at + 16] = (uint8_t)((in.records[at + 16] & 0x80) | draw(seed) % 4);
            store64(in.records + at + 32, trial < 100 ? at : draw(seed) % 64);
        }
        mend(&in, MEND_ALL);
        baash_window_verdict v = judged(&in);
        CHECK(v.whole && (trial >= 100 || v.reason == 0));
        CHECK(v.reason == 0 || (v.reason == REASON_REPLAYED && v.valid_blocks <= v.bad_index));
        close_input(&in);
    }
}

int main(void) {
    uint64_t seed = 5;
    CHECK(baash_sha256_init(UINT32_MAX) == BAASH_OK);
    whole_windows(&seed);
    changed_bytes(&seed);
    moved_bytes(&seed);
    cut_parts(&seed);
    repeated_pairs(&seed);
    window_input none = open_input((const uint8_t *)"", 0);
    CHECK(judged(&none).reason == REASON_WINDOW_MISMATCH);
    close_input(&none);
    return 0;
}
