/* The certificates of a round, held against its body, its block headers and its view, all of them in one call.
 *
 * For who expects that all is well: the answer is yes or no, and a no is the caller's to explain, window by window. What a yes
 * still depends on are the signatures of the votes, which are listed. A certificate of the storage validator, with the
 * votes that did not suffice inside, is rare, and gets a no too. Every length is looked at before what it promises. */
#include "../sha256/sha256.h"

enum { TAG_WINDOW = 5, TAG_ATTEMPT = 6, TAG_VOTE = 8, TAG_CERTIFICATE = 9, VERSION = 1 };
enum { HEAD_BYTES = 32, WINDOW_BYTES = 208, ENTRY_BYTES = 40, VOTE_BYTES = 128, VOTE_SIGNED = 64, ATTEMPT_BYTES = 48 };
enum { BODY_ROW = 64, ROW_BYTES = 128, ANSWER_PREFIX = 0, ANSWERS = 3 };
enum { MEMBERS_MAX = 512 }; /* sub-clusters have 193 at most, and 256 replacements */

/* The parts of a certificate, whose lengths fit. */
typedef struct parts {
    const uint8_t *head, *window, *members, *entries, *votes;
    uint32_t member_count, block_count, vote_count, prefix, attempt;
} parts;

static int is_object(const uint8_t *p, uint8_t tag) { return p[0] == 0 && p[1] == tag && p[2] == VERSION; }

/* Form: tags, lengths, and zeros where there is nothing else. */
static int take_apart(parts *c, const uint8_t *raw, uint64_t size) {
    if (size < HEAD_BYTES + WINDOW_BYTES) {
        return 0;
    }
    c->head = raw, c->window = raw + HEAD_BYTES, c->members = c->window + WINDOW_BYTES;
    c->prefix = load32(raw + 8), c->attempt = load32(raw + 12), c->member_count = load32(raw + 16);
    c->vote_count = load32(raw + 20), c->block_count = load32(c->window + 12);
    uint64_t members = (UINT64_C(4) * c->member_count + 7) & ~UINT64_C(7);
    uint64_t entries = (uint64_t)ENTRY_BYTES * c->block_count, votes = (uint64_t)VOTE_BYTES * c->vote_count;
    if (!is_object(raw, TAG_CERTIFICATE) || raw[3] != 0 /* decided by members */ || load64(raw + 24) != 0 ||
        load32(raw + 4) != size || HEAD_BYTES + WINDOW_BYTES + members + entries + votes != size ||
        !is_object(c->window, TAG_WINDOW) || c->window[3] != 0 || c->member_count > MEMBERS_MAX) {
        return 0;
    }
    c->entries = c->members + members, c->votes = c->entries + entries;
    return !(c->member_count & 1) || load32(c->members + 4 * c->member_count) == 0;
}

static uint32_t member(const parts *c, size_t i) { return load32(c->members + 4 * i); }

static int is_member(const parts *c, uint32_t node, size_t among) {
    for (size_t i = 0; i < among; i++) {
        if (member(c, i) == node) {
            return 1;
        }
    }
    return 0;
}

/* The window is of this view, and its members may decide it. */
static int is_legal(const parts *c, const baash_view_rules *rules) {
    uint32_t cluster = load32(c->window + 4);
    if (load32(c->window + 8) != rules->view || memcmp(c->window + 48, rules->ledger, 32) != 0 ||
        cluster >= rules->clusters || c->attempt > rules->replacements ||
        c->member_count != (uint64_t)rules->sub_cluster + c->attempt) {
        return 0;
    }
    for (size_t i = 0; i < c->member_count; i++) {
        uint32_t node = member(c, i);
        if (node >= rules->nodes || rules->validator_of[node] != cluster || is_member(c, node, i)) {
            return 0;
        }
    }
    return 1;
}

/* The row of the body and the certificate speak of the same window and number of blocks. */
static int fits_body(const parts *c, const uint8_t *row, const uint8_t *window_hash) {
    uint32_t prefix = load32(row + 16), blocks = load32(row + 20);
    return load32(row) == load32(c->window + 4) && load64(row + 8) == load64(c->window + 16) && prefix == c->prefix &&
           blocks == c->block_count && prefix <= blocks && load16(row + 4) == (prefix != blocks) &&
           !load16(row + 6) && !load32(row + 28) && memcmp(row + 32, window_hash, 32) == 0;
}

/* The headers of the blocks that were committed are those that were voted on. */
static int fit_headers(const parts *c, const uint8_t *rows, const uint8_t *digests) {
    for (uint32_t i = 0; i < c->prefix; i++) {
        const uint8_t *row = rows + (size_t)ROW_BYTES * i;
        if (load32(row + 4) != load32(c->window + 4) || load32(row + 20) != i ||
            memcmp(row + 24, c->window + 16, 16) != 0 || /* number and time */
            memcmp(row + 40, c->entries + (size_t)ENTRY_BYTES * i + 32, 8) != 0 || /* count and bytes */
            memcmp(row + 48, digests + 32 * (size_t)i, 32) != 0) {
            return 0;
        }
    }
    return 1;
}

/* Its entries are the blocks that the window speaks of. digests: used up. */
static int fits_content(const parts *c, uint8_t *digests, int kernel) {
    const uint64_t offsets[2] = {0, c->block_count};
    uint64_t size, transactions = 0, bytes = 0;
    uint8_t root[32];
    size_t at;
    for (uint32_t i = 0; i < c->block_count; i++) {
        transactions += load32(c->entries + (size_t)ENTRY_BYTES * i + 32);
        bytes += load32(c->entries + (size_t)ENTRY_BYTES * i + 36);
    }
    baash_merkle_roots(root, &at, digests, c->block_count, &size, offsets, 1, kernel);
    return transactions == load32(c->window + 40) && bytes == load64(c->window + 32) &&
           memcmp(root, c->window + 144, 32) == 0;
}

static void hash_attempt(uint8_t *hash, const parts *c, const uint8_t *window_hash, int kernel) {
    uint8_t bytes[ATTEMPT_BYTES + 4 * MEMBERS_MAX] = {0, TAG_ATTEMPT, VERSION};
    const uint64_t start = 0, size = ATTEMPT_BYTES + (uint64_t)(c->entries - c->members);
    store32(bytes + 4, c->attempt);
    store32(bytes + 8, c->member_count);
    memcpy(bytes + 16, window_hash, 32);
    memcpy(bytes + ATTEMPT_BYTES, c->members, (size_t)(c->entries - c->members));
    baash_sha256_hash(hash, bytes, &start, &size, 1, kernel);
}

/* The votes are such, ascending, by members, on this attempt, and carry just the prefix. */
static int carry_prefix(const parts *c, const uint8_t *attempt, uint32_t quorum) {
    uint32_t given = 0, more = 0;
    for (uint32_t i = 0; i < c->vote_count; i++) {
        const uint8_t *vote = c->votes + (size_t)VOTE_BYTES * i;
        uint32_t node = load32(vote + 4);
        if (!is_object(vote, TAG_VOTE) || vote[3] >= ANSWERS || (i && node <= load32(vote - VOTE_BYTES + 4)) ||
            !is_member(c, node, c->member_count) || memcmp(vote + 24, attempt, 32) != 0) {
            return 0;
        }
        if (vote[3] == ANSWER_PREFIX) {
            given += load32(vote + 8) >= c->prefix;
            more += load32(vote + 8) > c->prefix;
        }
    }
    return given >= quorum && (c->prefix == c->block_count || more < quorum);
}

/* 0: there is no room, for certificates share their bytes. */
static int list_votes(baash_signed_vote *votes, size_t *count, size_t capacity, const parts *c, const uint8_t *heap,
                      int kernel) {
    const uint64_t start = 0, size = VOTE_SIGNED;
    if (c->vote_count > capacity - *count) {
        return 0;
    }
    for (uint32_t i = 0; i < c->vote_count; i++, ++*count) {
        const uint8_t *vote = c->votes + (size_t)VOTE_BYTES * i;
        baash_signed_vote *to = &votes[*count];
        *to = (baash_signed_vote){(uint64_t)(vote - heap) + VOTE_SIGNED, load32(vote + 4), 0, {0}};
        baash_sha256_hash(to->digest, vote, &start, &size, 1, kernel);
    }
    return 1;
}

static int ascends(const uint8_t *before, const uint8_t *row) {
    uint32_t a = load32(before), b = load32(row);
    return a < b || (a == b && load64(before + 8) < load64(row + 8));
}

int baash_window_recount(int *hold, uint8_t *windows, baash_signed_vote *votes, size_t *vote_count, size_t capacity,
                         uint8_t *work, const baash_round_claims *claims, const baash_view_rules *rules, int kernel) {
    const uint64_t start = 0, window_bytes = WINDOW_BYTES;
    size_t block = 0;
    *hold = 0;
    *vote_count = 0;
    if (!baash_sha256_usable(kernel)) {
        return BAASH_E_KERNEL;
    }
    for (size_t i = 0; i < claims->window_count; i++) {
        const uint8_t *row = claims->windows + BODY_ROW * i;
        const uint64_t at = claims->offsets[i], size = load32(row + 24);
        uint8_t window_hash[32], attempt[32];
        parts c;
        if (size > claims->heap_bytes || at > claims->heap_bytes - size || !take_apart(&c, claims->heap + at, size) ||
            !is_legal(&c, rules) || (i && !ascends(row - BODY_ROW, row)) || c.prefix > claims->blocks - block) {
            return BAASH_OK;
        }
        baash_sha256_hash(window_hash, c.window, &start, &window_bytes, 1, kernel);
        hash_attempt(attempt, &c, window_hash, kernel);
        baash_block_contents(work, c.entries, c.block_count, load32(c.window + 4), kernel);
        if (!fits_body(&c, row, window_hash) || !fit_headers(&c, claims->rows + ROW_BYTES * block, work) ||
            !fits_content(&c, work, kernel) || !carry_prefix(&c, attempt, rules->quorums[c.attempt]) ||
            !list_votes(votes, vote_count, capacity, &c, claims->heap, kernel)) {
            return BAASH_OK;
        }
        memcpy(windows + WINDOW_BYTES * i, c.window, WINDOW_BYTES);
        block += c.prefix;
    }
    *hold = block == claims->blocks;
    return BAASH_OK;
}
