/* What an audit takes of a round in bulk, on memory of exactly the size that it needs: a round that is well is taken whole, of one
 * that is not nothing wrong is taken, and whatever the bytes are, nothing outside is read. */
#define _POSIX_C_SOURCE 200809L
#include "test.h"

#include <unistd.h>

enum { RECORDS = 60, BLOCKS = 20, PER_BLOCK = 3, MEMBERS = 4, VOTES = 3, NODES = 9, BEGIN = 100 };
enum { HEAP = 32 + 208 + 4 * MEMBERS + 40 * BLOCKS + 128 * VOTES };

static const uint32_t owners[4096], quorums[3] = {VOTES, 3, 4};
static const uint64_t seeds[3] = {1, 2, 3};

/* A round of one window. */
typedef struct made {
    uint8_t *records, rows[128 * BLOCKS], heap[HEAP], body[64];
    uint64_t offsets[RECORDS + 1], bounds[BLOCKS + 1];
} made;

static void put32(uint8_t *to, size_t at, uint32_t value) { memcpy(to + at, &value, 4); }
static void put64(uint8_t *to, size_t at, uint64_t value) { memcpy(to + at, &value, 8); }

static void hash(uint8_t *out, const uint8_t *data, size_t size) {
    CHECK(baash_sha256_rows(out, data, size, 1, size, BAASH_CHOSEN) == BAASH_OK);
}

static void make_records(made *m, uint64_t *seed) {
    uint8_t operations[RECORDS], names[8 * RECORDS], issuer[16] = {5}, payloads[100 * RECORDS] = {0};
    uint64_t zeros[RECORDS + 1] = {0}, any[RECORDS], sequences[RECORDS], name_ends[RECORDS + 1], ends[RECORDS + 1] = {0};
    uint16_t types[RECORDS] = {0};
    size_t at;
    int limit;
    name_ends[0] = 0;
    for (size_t i = 0; i < RECORDS; i++) {
        operations[i] = i % 5 == 4 ? 5 : 1, any[i] = UINT64_MAX, sequences[i] = i;
        put64(names, 8 * i, draw(seed)), name_ends[i + 1] = 8 * (i + 1);
        ends[i + 1] = ends[i] + draw(seed) % 100;
    }
    baash_transaction_columns c = {.operations = operations, .sequences = sequences, .times_ns = zeros,
                                   .expected_versions = any, .issuer = issuer, .entities = names, .payloads = payloads,
                                   .entity_offsets = name_ends, .payload_offsets = ends, .reference_offsets = zeros,
                                   .payload_types = types, .entities_bytes = sizeof names,
                                   .payloads_bytes = sizeof payloads, .count = RECORDS};
    CHECK(baash_transaction_sizes(m->offsets, &at, &limit, &c) == BAASH_OK);
    m->records = room(m->offsets[RECORDS]);
    CHECK(baash_transaction_encode(m->records, m->offsets, &c) == BAASH_OK);
}

static void make_rows(made *m) {
    uint8_t ids[32 * RECORDS], roots[32 * BLOCKS], *entries = m->heap + 32 + 208 + 4 * MEMBERS, hashes[32 * BLOCKS];
    const uint8_t parent[32] = {0};
    uint64_t sizes[BLOCKS];
    size_t at;
    CHECK(baash_sha256_batch(ids, &at, m->records, m->offsets[RECORDS], m->offsets, RECORDS, BAASH_CHOSEN, 1) == BAASH_OK);
    for (size_t i = 0; i <= BLOCKS; i++) {
        m->bounds[i] = PER_BLOCK * i;
    }
    CHECK(baash_merkle_roots(roots, &at, ids, RECORDS, sizes, m->bounds, BLOCKS, BAASH_CHOSEN) == BAASH_OK);
    for (size_t i = 0; i < BLOCKS; i++) {
        uint8_t *row = m->rows + 128 * i, *entry = entries + 40 * i;
        uint64_t start = m->offsets[PER_BLOCK * i];
        memset(row, 0, 128);
        row[1] = 4, row[2] = 1;
        put32(row, 16, 7), put32(row, 20, (uint32_t)i), put64(row, 24, 11), put64(row, 32, 12), put32(row, 40, PER_BLOCK);
        put32(row, 44, (uint32_t)(m->offsets[PER_BLOCK * (i + 1)] - start));
        put64(row, 112, start), put64(row, 120, 1000 + m->bounds[i]);
        memcpy(entry, roots + 32 * i, 32), memcpy(entry + 32, row + 40, 8);
        CHECK(baash_block_contents(row + 48, entry, 1, 0, BAASH_CHOSEN) == BAASH_OK);
    }
    CHECK(baash_block_chain(hashes, m->rows, BLOCKS, 500, parent, BAASH_CHOSEN) == BAASH_OK);
}

static void make_certificate(made *m) {
    uint8_t *window = m->heap + 32, *votes = m->heap + HEAP - 128 * VOTES, attempt[48 + 4 * MEMBERS] = {0, 6, 1};
    uint8_t contents[32 * BLOCKS], attempt_hash[32];
    const uint64_t all[2] = {0, BLOCKS};
    uint64_t size;
    size_t at;
    memset(m->heap, 0, 32 + 208), memset(votes, 0, 128 * VOTES), memset(m->body, 0, 64);
    m->heap[1] = 9, m->heap[2] = 1, put32(m->heap, 4, HEAP), put32(m->heap, 8, BLOCKS), put32(m->heap, 16, MEMBERS);
    put32(m->heap, 20, VOTES);
    window[1] = 5, window[2] = 1, put32(window, 8, 7), put32(window, 12, BLOCKS), put64(window, 16, 11);
    put64(window, 24, 12), put64(window, 32, m->offsets[RECORDS]), put32(window, 40, RECORDS);
    memset(window + 48, 3, 32);
    for (size_t i = 0; i < BLOCKS; i++) {
        memcpy(contents + 32 * i, m->rows + 128 * i + 48, 32);
    }
    CHECK(baash_merkle_roots(window + 144, &at, contents, BLOCKS, &size, all, 1, BAASH_CHOSEN) == BAASH_OK);
    hash(m->body + 32, window, 208);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        put32(m->heap, 240 + 4 * i, i + 1);
    }
    put32(attempt, 8, MEMBERS), memcpy(attempt + 16, m->body + 32, 32), memcpy(attempt + 48, m->heap + 240, 4 * MEMBERS);
    hash(attempt_hash, attempt, sizeof attempt);
    for (uint32_t i = 0; i < VOTES; i++) {
        uint8_t *vote = votes + 128 * i;
        vote[1] = 8, vote[2] = 1, put32(vote, 4, i + 1), put32(vote, 8, BLOCKS), memcpy(vote + 24, attempt_hash, 32);
    }
    put64(m->body, 8, 11), put32(m->body, 16, BLOCKS), put32(m->body, 20, BLOCKS), put32(m->body, 24, HEAP);
}

static baash_block_room new_room(size_t bytes, size_t piece) {
    size_t rows = bytes / 72;
    return (baash_block_room){room(bytes), room(rows * sizeof(baash_transaction_info)), room(32 * rows), room(32 * rows),
                              bytes, rows, piece};
}

static void free_room(baash_block_room *r) { free(r->records), free(r->info), free(r->ids), free(r->entities); }

typedef struct kept {
    baash_act acts[RECORDS];
    uint64_t pairs[RECORDS], ids8[RECORDS];
} kept;

static baash_block_walk walk(kept *k, const made *m, const uint8_t *rows, int file, uint64_t size, size_t room_bytes,
                             size_t piece) {
    baash_block_walk w = {0};
    baash_block_room r = new_room(room_bytes, piece);
    baash_block_source source = {file, BEGIN, size};
    do { /* on behind each piece that has a NOTE to be looked at */
        w.block = w.stop == BAASH_WALK_LOOK ? w.after : w.block;
        int status = baash_block_take(&w, k->acts, k->pairs, k->ids8, RECORDS, &r, &source, rows, m->bounds, BLOCKS,
                                      owners, seeds, BAASH_CHOSEN);
        CHECK(status == BAASH_OK);
    } while (w.stop == BAASH_WALK_LOOK);
    free_room(&r);
    return w;
}

/* However the blocks are cut into pieces, the same is taken of them. */
static void test_take(const made *m, uint64_t *seed) {
    const uint64_t bytes = m->offsets[RECORDS];
    FILE *stream = tmpfile();
    CHECK(stream);
    int file = fileno(stream);
    kept whole, k;
    CHECK(pwrite(file, m->records, bytes, BEGIN) == (ssize_t)bytes);
    baash_block_walk w = walk(&whole, m, m->rows, file, bytes, bytes, bytes);
    CHECK(w.stop == BAASH_WALK_DONE && w.block == BLOCKS && w.transactions == RECORDS && w.acts == RECORDS / 5 * 4);
    for (size_t piece = 1; piece < bytes; piece += 301) {
        w = walk(&k, m, m->rows, file, bytes, bytes, piece);
        CHECK(w.stop == BAASH_WALK_DONE && w.transactions == RECORDS && w.acts == RECORDS / 5 * 4);
        CHECK(!memcmp(k.pairs, whole.pairs, sizeof k.pairs) && !memcmp(k.ids8, whole.ids8, sizeof k.ids8));
        CHECK(!memcmp(k.acts, whole.acts, w.acts * sizeof *k.acts));
    }
    w = walk(&k, m, m->rows, file, bytes, 80, bytes); /* no block has room */
    CHECK(w.stop == BAASH_WALK_UNTAKEN && w.block == 0 && !w.transactions);
    w = walk(&k, m, m->rows, file, bytes - 1, bytes, 1); /* the last lies outside */
    CHECK(w.stop == BAASH_WALK_UNTAKEN && w.block == BLOCKS - 1 && w.after == BLOCKS);
    for (int i = 0; i < 200; i++) { /* a changed byte stops the walk at its block */
        size_t at = draw(seed) % bytes, block = 0;
        uint8_t byte = m->records[at] ^ (uint8_t)(1 << draw(seed) % 8);
        while (m->offsets[m->bounds[block + 1]] <= at) {
            block++;
        }
        CHECK(pwrite(file, &byte, 1, (off_t)(BEGIN + at)) == 1);
        w = walk(&k, m, m->rows, file, bytes, bytes, 1);
        CHECK(w.stop == BAASH_WALK_UNTAKEN && w.block == block && w.transactions == m->bounds[block]);
        CHECK(pwrite(file, &m->records[at], 1, (off_t)(BEGIN + at)) == 1);
    }
    for (int i = 0; i < 500; i++) { /* rows of any kind */
        uint8_t rows[128 * BLOCKS];
        memcpy(rows, m->rows, sizeof rows);
        for (int n = 0; n < 3; n++) {
            rows[draw(seed) % sizeof rows] = (uint8_t)draw(seed);
        }
        walk(&k, m, rows, file, bytes, bytes, draw(seed) % (2 * bytes));
    }
    CHECK(ftruncate(file, BEGIN + 200) == 0);
    CHECK(walk(&k, m, m->rows, file, bytes, bytes, bytes).stop == BAASH_WALK_UNTAKEN);
    fclose(stream);
}

static void test_headers(made *m) {
    uint8_t *hashes = room(32 * BLOCKS);
    int good = 0;
    CHECK(baash_block_headers(&good, hashes, m->rows, BLOCKS, 500, 7, 1000, BAASH_CHOSEN) == BAASH_OK && good);
    for (size_t i = 0; i < 128 * BLOCKS; i++) {
        size_t in_row = i % 128;
        int seen = in_row < 4 || (in_row >= 8 && in_row < 20) || in_row >= 120 || (in_row >= 80 && in_row < 112 && i >= 128);
        m->rows[i] ^= 1;
        CHECK(baash_block_headers(&good, hashes, m->rows, BLOCKS, 500, 7, 1000, BAASH_CHOSEN) == BAASH_OK);
        CHECK(!(good && (seen || (i < 128 * (BLOCKS - 1) && in_row < 112)))); /* the next one's parent says the rest */
        m->rows[i] ^= 1;
    }
    CHECK(baash_block_headers(&good, hashes, NULL, 0, 0, 0, 0, BAASH_CHOSEN) == BAASH_OK && good);
    free(hashes);
}

static int recount(const made *m, const uint8_t *heap, size_t heap_bytes, uint64_t offset, size_t windows) {
    static const uint32_t validator_of[NODES] = {UINT32_MAX, 0, 0, 0, 0, 0, 1, 1, 1};
    uint8_t ledger[32], *copy = room(heap_bytes), *work = room(heap_bytes), *found = room(208 * windows);
    baash_signed_vote *votes = room(heap_bytes / 128 * sizeof *votes);
    uint64_t offsets[2] = {offset, offset};
    uint8_t rows[128] = {0};
    size_t count = 0;
    int hold = 0;
    memset(ledger, 3, 32), memcpy(copy, heap, heap_bytes);
    memcpy(rows, m->body, 64), memcpy(rows + 64, m->body, 64);
    baash_round_claims claims = {rows, offsets, copy, m->rows, windows, heap_bytes, BLOCKS};
    baash_view_rules rules = {ledger, validator_of, quorums, NODES, 7, 2, MEMBERS, 2};
    CHECK(baash_window_recount(&hold, found, votes, &count, heap_bytes / 128, work, &claims, &rules, BAASH_CHOSEN) ==
          BAASH_OK);
    if (hold && windows) {
        uint8_t digest[32];
        CHECK(count == VOTES && !memcmp(found, heap + offset + 32, 208));
        for (size_t i = 0; i < count; i++) {
            const uint8_t *vote = heap + offset + HEAP - 128 * (VOTES - i);
            hash(digest, vote, 64);
            CHECK(votes[i].node == i + 1 && heap + votes[i].at == vote + 64 && !memcmp(votes[i].digest, digest, 32));
        }
    }
    free(copy), free(work), free(found), free(votes);
    return hold;
}

static void test_recount(made *m, uint64_t *seed) {
    uint8_t heap[HEAP];
    CHECK(recount(m, m->heap, HEAP, 0, 1));
    CHECK(!recount(m, m->heap, HEAP, 0, 0) && !recount(m, m->heap, HEAP, 0, 2)); /* blocks too many, and too few */
    CHECK(!recount(m, m->heap, HEAP, 1, 1) && !recount(m, m->heap, HEAP - 1, 0, 1));
    CHECK(!recount(m, m->heap, HEAP, UINT64_MAX, 1));
    for (size_t i = 0; i < HEAP; i++) { /* only what no rule is about, and votes for more than there is, may change */
        size_t in_vote = i < HEAP - 128 * VOTES ? 0 : (i - (HEAP - 128 * VOTES)) % 128;
        int bit = (int)(draw(seed) % 8), free_bytes = (in_vote >= 12 && in_vote < 24) || in_vote >= 56;
        uint32_t prefix;
        memcpy(heap, m->heap, HEAP);
        heap[i] ^= (uint8_t)(1 << bit);
        memcpy(&prefix, heap + i - in_vote + 8, 4);
        int more = in_vote >= 8 && in_vote < 12 && prefix > BLOCKS;
        CHECK(recount(m, heap, HEAP, 0, 1) == (free_bytes || more));
    }
    for (size_t i = 0; i < 64; i++) {
        m->body[i] ^= 1;
        CHECK(!recount(m, m->heap, HEAP, 0, 1));
        m->body[i] ^= 1;
    }
    for (int i = 0; i < 3000; i++) { /* lengths of any kind */
        memcpy(heap, m->heap, HEAP);
        put32(heap, 4 * (draw(seed) % 16), (uint32_t)draw(seed) >> draw(seed) % 32);
        recount(m, heap, draw(seed) % 4 ? HEAP : draw(seed) % HEAP, draw(seed) % 4 ? 0 : draw(seed) % HEAP, 1);
    }
}

int main(void) {
    for (uint64_t seed = 0; seed < 4; seed++) {
        made m;
        uint64_t drawn = seed;
        make_records(&m, &drawn);
        make_rows(&m);
        make_certificate(&m);
        test_take(&m, &drawn);
        test_headers(&m);
        test_recount(&m, &drawn);
        free(m.records);
    }
    return 0;
}
