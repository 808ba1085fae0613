/* BAASH's kernels: whole batches in, whole batches out.
 *
 * Every function: results first, then inputs, each array before its length, then choices. Returns a baash_status.
 * The caller owns all memory, scratch included; nothing is allocated, kept, locked or called back. All functions may
 * run in many threads at once on different outputs. Unless said otherwise nothing overlaps, arrays of integers are
 * aligned, and an array of length 0 may be NULL. Input bytes may be hostile: what they say is checked before use.
 *
 * `at` (where there is one) is set on failure to the index of the first item that caused it.
 * `kernel` is a number from baash_sha256_info, or BAASH_CHOSEN. A hash is 32 bytes, a row of hashes lies in one piece.
 * The formats are those of docs/ledger-format.md; all integers little-endian.
 */
#ifndef BAASH_H
#define BAASH_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define BAASH_API __attribute__((visibility("default")))
#else
#define BAASH_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum baash_status {
    BAASH_OK = 0,
    BAASH_E_RANGE = 1, /* a span lies outside its buffer */
    BAASH_E_ORDER = 2, /* offsets do not ascend */
    BAASH_E_KERNEL = 3, /* no such kernel, or it cannot run here */
    BAASH_E_FULL = 4, /* no room: *done says how many items were taken; grow and go on from there */
    BAASH_E_VALUE = 5, /* a value is outside its limits */
    BAASH_E_READ = 6, /* a file cannot be read: an errno, or 0: it ends too early */
    BAASH_E_SEAL = 7, /* a page of an index file has changed since it was sealed */
} baash_status;

/* ---- SHA-256 (FIPS 180-4) ---- */

#define BAASH_CHOSEN (-1)

enum {
    BAASH_CPU_SSSE3 = 1,
    BAASH_CPU_SSE41 = 2,
    BAASH_CPU_SHA = 4,
    BAASH_CPU_AVX2 = 8, /* with BMI1, BMI2, LZCNT and POPCNT */
    BAASH_CPU_AVX512 = 16, /* F, BW, VL */
    BAASH_CPU_ARM_SHA2 = 32,
};

typedef enum baash_kernel_state {
    BAASH_KERNEL_READY = 0,
    BAASH_KERNEL_UNTRIED = 1, /* baash_sha256_init has not run */
    BAASH_KERNEL_NOT_BUILT = 2,
    BAASH_KERNEL_CPU_CANNOT = 3,
    BAASH_KERNEL_FAILED = 4, /* its self-test gave a wrong hash */
} baash_kernel_state;

typedef struct baash_kernel_info {
    const char *name;
    uint32_t cpu_bits; /* what it needs of BAASH_CPU_* */
    int lanes; /* messages in flight at once */
    int state; /* baash_kernel_state */
    const char *reason;
} baash_kernel_info;

/* Looks at the CPU, tests every kernel that can run, chooses the fastest. Once, before other threads start; without
 * it the portable kernel runs. `cpu_mask` hides CPU features (tests); UINT32_MAX hides none. */
BAASH_API int baash_sha256_init(uint32_t cpu_mask);
/* Kernels are numbered from 0; BAASH_E_KERNEL behind the last. */
BAASH_API int baash_sha256_info(baash_kernel_info *info, int kernel);
BAASH_API int baash_sha256_chosen(void);
/* The kernel that takes small batches and remainders in the chosen one's place, or -1. */
BAASH_API int baash_sha256_partner(void);
/* From now on this kernel alone. */
BAASH_API int baash_sha256_choose(int kernel);

/* 1: `threads` are built in (OpenMP). 0: it is taken, and the caller's thread does everything. */
BAASH_API int baash_openmp(void);

/* `threads`: so many at most share the work, 1 and up, the caller's among them; the results are those of one. They are
 * OpenMP's, who keeps them. A child of fork(), which they do not survive, has one. BAASH_E_VALUE: less than 1. */

/* out[count × 32]: hash of data[starts[i] … starts[i] + lengths[i]). Spans may overlap and come in any order. */
BAASH_API int baash_sha256_spans(uint8_t *out, size_t *at, const uint8_t *data, size_t data_bytes,
                                 const uint64_t *starts, const uint64_t *lengths, size_t count, int kernel,
                                 int threads);
/* out[count × 32]: hash of data[offsets[i] … offsets[i + 1]); count + 1 ascending offsets. */
BAASH_API int baash_sha256_batch(uint8_t *out, size_t *at, const uint8_t *data, size_t data_bytes,
                                 const uint64_t *offsets, size_t count, int kernel, int threads);
/* out[count × 32]: hash of the first row_bytes of each of `count` rows of `stride` bytes; row_bytes <= stride. */
BAASH_API int baash_sha256_rows(uint8_t *out, const uint8_t *rows, size_t stride, size_t count, size_t row_bytes,
                                int kernel);

/* ---- Merkle trees (RFC 9162 section 2.1; leaves are leaf hashes already) ---- */

/* roots[trees × 32]: tree i over leaves offsets[i] … offsets[i + 1). work[leaves × 32]: a copy of the leaves,
 * overwritten. sizes[trees]: scratch. */
BAASH_API int baash_merkle_roots(uint8_t *roots, size_t *at, uint8_t *work, size_t leaves, uint64_t *sizes,
                                 const uint64_t *offsets, size_t trees, int kernel);
/* path[64 × 32], *path_rows: inclusion path of leaf `index` (section 2.1.3.1). work[leaves × 32]: as above. */
BAASH_API int baash_merkle_path(uint8_t *path, size_t *path_rows, uint8_t *work, size_t leaves, uint64_t index,
                                int kernel);
/* The paths of all leaves: paths[leaves × depth × 32], of which leaf i has path_rows[i], from the leaf up. 2^depth >=
 * leaves, else BAASH_E_VALUE. work: as above. */
BAASH_API int baash_merkle_paths(uint8_t *paths, uint8_t *path_rows, uint8_t *work, size_t leaves, size_t depth,
                                 int kernel);
/* root[32] that `path` leads to from leaf[32] number `index` of `size`; BAASH_E_VALUE: the path has a wrong length. */
BAASH_API int baash_merkle_fold(uint8_t *root, const uint8_t *leaf, uint64_t index, uint64_t size, const uint8_t *path,
                                size_t path_rows, int kernel);
/* Appends leaves to a tree of `size` leaves. frontier[64 × 32], in and out: row k holds the root of the perfect
 * subtree of 2^k leaves for each set bit k of the size, zeros elsewhere. work[(count + 1) × 32]: scratch. */
BAASH_API int baash_merkle_append(uint8_t *frontier, uint8_t *work, uint64_t size, const uint8_t *leaves, size_t count,
                                  int kernel);
/* root[32] of the tree that `frontier` and `size` describe. */
BAASH_API int baash_merkle_frontier(uint8_t *root, const uint8_t *frontier, uint64_t size, int kernel);

/* ---- Transactions ---- */

/* baash.records.TRANSACTION_INFO */
typedef struct baash_transaction_info {
    uint64_t start, sequence, expected_version;
    uint8_t issuer[16];
    uint32_t total_bytes, payload_bytes, payload_start;
    uint16_t entity_bytes, flags, reference_count, payload_type;
    uint8_t operation, pad[3];
} baash_transaction_info;

/* Checks the form of records from *position on, one behind the other. info[*count …] is filled, *count and *position
 * go forward past every good record; *reason is 0, or (baash.records.Reason) why the record at *position is not one.
 * BAASH_E_FULL: info has room for `capacity` and there is more; call again with a larger copy. */
BAASH_API int baash_transaction_scan(baash_transaction_info *info, size_t *count, uint64_t *position, int *reason,
                                     size_t capacity, const uint8_t *records, size_t records_bytes);

/* Form and hashes in one pass over the bytes: as baash_transaction_scan, and of every good record its id and the hash of
 * its entity, ids and entities[capacity × 32]. `at`: of baash_transaction_ids. */
BAASH_API int baash_transaction_read(baash_transaction_info *info, uint8_t *ids, uint8_t *entities, size_t *count,
                                     uint64_t *position, int *reason, size_t *at, size_t capacity,
                                     const uint8_t *records, size_t records_bytes, int kernel);

/* What baash_transaction_sizes and _encode put into unsigned records; entities, payloads and references by count + 1
 * ascending offsets (reference offsets count references). */
typedef struct baash_transaction_columns {
    const uint8_t *operations;
    const uint64_t *sequences, *times_ns, *expected_versions;
    const uint8_t *issuer; /* 16 bytes, top bit clear */
    const uint8_t *entities, *payloads, *references;
    const uint64_t *entity_offsets, *payload_offsets, *reference_offsets;
    const uint16_t *payload_types;
    size_t entities_bytes, payloads_bytes, references_count, count;
} baash_transaction_columns;

/* offsets[count + 1] of the records, after all columns were checked; *limit names the Reason on BAASH_E_VALUE. */
BAASH_API int baash_transaction_sizes(uint64_t *offsets, size_t *at, int *limit,
                                      const baash_transaction_columns *columns);
/* records[offsets[count]]: the bytes. Only after baash_transaction_sizes gave BAASH_OK for the same columns. */
BAASH_API int baash_transaction_encode(uint8_t *records, const uint64_t *offsets,
                                       const baash_transaction_columns *columns);

/* out[sum of lengths]: the spans one behind the other. */
BAASH_API int baash_transaction_gather(uint8_t *out, size_t *at, size_t out_bytes, const uint8_t *data,
                                       size_t data_bytes, const uint64_t *starts, const uint64_t *lengths,
                                       size_t count);
/* out[count × 32]: ids of the records that info describes, */
BAASH_API int baash_transaction_ids(uint8_t *out, size_t *at, const uint8_t *records, size_t records_bytes,
                                    const baash_transaction_info *info, size_t count, int kernel);
/* and the hashes of their entities. */
BAASH_API int baash_transaction_entities(uint8_t *out, size_t *at, const uint8_t *records, size_t records_bytes,
                                         const baash_transaction_info *info, size_t count, int kernel);

/* ---- Blocks ---- */

/* out[count × 32]: content digests of entries[count × 40] (baash.records.BLOCK_ENTRY) of one cluster. */
BAASH_API int baash_block_contents(uint8_t *out, const uint8_t *entries, size_t count, uint32_t cluster, int kernel);
/* rows[count × 128] (baash.records.BLOCK_ROW), in order: height + i and the parent are written, hashes[count × 32]
 * taken. parent[32] is that of the first. */
BAASH_API int baash_block_chain(uint8_t *hashes, uint8_t *rows, size_t count, uint64_t height, const uint8_t *parent,
                                int kernel);
/* hashes[blocks × 32]: of the headers in rows[blocks × 128]. *good: whether each is one, not empty, of this view, `height` + i, names
 * the one before it as its parent, has as many transactions before it as it says (the first: first_transaction), and lies right behind
 * the one before it, if that is of the same window. */
BAASH_API int baash_block_headers(int *good, uint8_t *hashes, const uint8_t *rows, size_t blocks, uint64_t height,
                                  uint32_t view, uint64_t first_transaction, int kernel);
/* *match: whether blocks that lie one behind the other are what their headers say: rows[blocks × 128] against the records
 * that info[count] and work[count × 32], their ids, describe (baash_transaction_read), records_bytes in all. Every
 * block holds as many whole records, in as many bytes, and has the content digest. work is used up. */
BAASH_API int baash_block_match(int *match, uint8_t *work, const uint8_t *rows, size_t blocks,
                                const baash_transaction_info *info, size_t count, uint64_t records_bytes, int kernel);

/* ---- Windows ---- */

/* A window as it came off the wire. None of it is believed, nothing needs to be aligned. */
typedef struct baash_window {
    const uint8_t *header; /* 208 bytes, baash.records.WINDOW; cluster, counts, bytes and the two hashes are looked at */
    const uint8_t *entries; /* entry_count × 40, baash.records.BLOCK_ENTRY */
    const uint8_t *entities; /* entity_count × 8, the list of short hashes */
    const uint8_t *records;
    size_t entry_count, entity_count, records_bytes;
} baash_window;

typedef struct baash_window_verdict {
    uint64_t transactions; /* rows of info, ids and entities: all of the window if it is whole, else 0 */
    uint64_t bad_index; /* the first bad transaction, when there is a reason */
    uint32_t valid_blocks; /* from the first, as far as form goes */
    uint16_t reason; /* baash.records.Reason */
    uint16_t whole; /* 1: every record is one, and every claim holds */
} baash_window_verdict;

/* How many transactions and words of scratch baash_window_check wants room for: never more than the bytes that came can
 * need, whatever the header says. */
BAASH_API int baash_window_room(size_t *transactions, size_t *work_words, const baash_window *window);
/* What can be said of a window without the state it builds on. In this order: a record that is none; WINDOW_MISMATCH,
 * when blocks (of 1 … block_size transactions), counts, bytes, roots, content digests, entity list or its digest are not
 * those of the records; REPLAYED, at the first transaction whose (issuer, sequence) one before it has.
 * The last leaves the window whole and is not the last word on it: baash_state_check finds it too, and knows the range,
 * below which the reason is another. info[capacity], ids and entities[capacity × 32] are filled when the window is whole.
 * `seed`: as under State. BAASH_E_FULL: less room than baash_window_room said. */
BAASH_API int baash_window_check(baash_window_verdict *verdict, baash_transaction_info *info, uint8_t *ids,
                                 uint8_t *entities, size_t capacity, uint64_t *work, size_t work_words,
                                 const baash_window *window, uint32_t block_size, uint64_t seed, int kernel);

/* ---- Votes ---- */

enum { BAASH_VOTE_MISSING = 0, BAASH_VOTE_GIVEN = 1, BAASH_VOTE_NONE = 2 };
enum { BAASH_TALLY_OPEN = 0, BAASH_TALLY_SETTLED = 1, BAASH_TALLY_FAILED = 2 };

/* decided[windows], status[windows]: see csrc/tally/tally.c. dissent[windows × ⌈members / 64⌉], or NULL: a bit for each
 * member that gave another prefix than the decided one. prefixes, present: windows × members, row by row.
 * BAASH_E_VALUE: a quorum of 0, or a `present` that is none of BAASH_VOTE_*; *at is the window. */
BAASH_API int baash_tally_count(uint32_t *decided, uint8_t *status, uint64_t *dissent, size_t *at,
                                const uint32_t *prefixes, const uint8_t *present, const uint32_t *quorums,
                                const uint32_t *block_counts, size_t windows, size_t members);

/* What the certificates of a view are held against. */
typedef struct baash_view_rules {
    const uint8_t *ledger; /* 32 bytes */
    const uint32_t *validator_of; /* nodes: the cluster whose validator each is, or UINT32_MAX */
    const uint32_t *quorums; /* replacements + 1: how many votes carry, at each attempt */
    size_t nodes;
    uint32_t view, clusters, sub_cluster, replacements;
} baash_view_rules;

/* What was said of a round. None of it is believed. */
typedef struct baash_round_claims {
    const uint8_t *windows; /* window_count × 64, baash.records.ROUND_WINDOW */
    const uint64_t *offsets; /* where in the heap each one's certificate begins */
    const uint8_t *heap;
    const uint8_t *rows; /* blocks × 128, baash.records.BLOCK_ROW: all of the round */
    size_t window_count, heap_bytes, blocks;
} baash_round_claims;

/* A vote whose signature is to be verified. */
typedef struct baash_signed_vote {
    uint64_t at; /* of the signature, in the heap */
    uint32_t node, pad;
    uint8_t digest[32]; /* of what it signs */
} baash_signed_vote;

/* *hold: whether all that the format demands of a round's windows holds, but for the signatures of the votes: rows of the body,
 * certificates (form, members, content, attempt, recount), and the block headers against them. 0 as well for a window that the
 * storage validator decided. windows[window_count × 208] and votes[*vote_count] are then filled; capacity: at least heap_bytes / 128.
 * work[heap_bytes]: scratch. What no round shows by itself (what a window builds on, entity lists) is not looked at. */
BAASH_API int baash_window_recount(int *hold, uint8_t *windows, baash_signed_vote *votes, size_t *vote_count,
                                   size_t capacity, uint8_t *work, const baash_round_claims *claims,
                                   const baash_view_rules *rules, int kernel);

/* ---- State ----
 *
 * Hash tables with open addressing in memory of the caller. `seed`: any number, the same for all calls on a table;
 * one that nobody outside knows keeps chosen keys from piling up. No result depends on it. */

#define BAASH_EXISTS (UINT64_C(1) << 63)

typedef struct baash_entity {
    uint64_t key[2];
    uint64_t word; /* version | BAASH_EXISTS; 0: an empty entry */
    uint64_t last;
} baash_entity;

/* Starts as {entries, capacity, NULL, 0, 0, 0, seed}; the functions keep the rest. See csrc/state/entity.c. */
typedef struct baash_entity_table {
    baash_entity *entries; /* capacity: a power of two, at least 2; zeros at first */
    size_t capacity;
    baash_entity *old; /* NULL, or what baash_entity_grow found: to be kept until it is NULL again */
    size_t old_capacity, moved; /* all of `old` that belongs before `moved` lies in `entries` already */
    size_t used;
    uint64_t seed;
} baash_entity_table;

/* keys: count × 16. Unknown keys: 0, 0, 0. */
BAASH_API int baash_entity_lookup(uint64_t *versions, uint8_t *exists, uint64_t *last, const baash_entity_table *table,
                                  const uint8_t *keys, size_t count);
/* BAASH_E_FULL at 70 %; BAASH_E_VALUE for a version of 2^63 or more, or for version 0 of what does not exist (that is
 * what an absent entry says). *done items were taken in both cases. */
BAASH_API int baash_entity_upsert(size_t *done, baash_entity_table *table, const uint8_t *keys,
                                  const uint64_t *versions, const uint8_t *exists, const uint64_t *last, size_t count);
/* Forgets keys; unknown ones are no error. */
BAASH_API int baash_entity_remove(baash_entity_table *table, const uint8_t *keys, size_t count);
/* Goes over to entries[capacity], zeros, at least twice as many as before: now they are `entries`, and the array before
 * is `old` until upserts have moved all of it, a few entries an item. BAASH_E_VALUE: too few, or `old` is there. */
BAASH_API int baash_entity_grow(baash_entity_table *table, baash_entity *entries, size_t capacity);

typedef struct baash_issuer {
    uint64_t id[2];
    uint64_t highest; /* largest sequence number decided */
    uint64_t spare;
} baash_issuer;

/* Per issuer a ring of `width` bits (RFC 6479): bit s % width says that s is decided, s in (highest - width, highest]. */
typedef struct baash_replay {
    uint32_t *slots; /* slot_count, a power of two, at least 2 × row_capacity: row + 1, or 0 */
    baash_issuer *issuers; /* row_capacity */
    uint64_t *const *bitmaps; /* pieces of 2^piece_bits rows of width / 64, for row_capacity rows; zeros if not used */
    size_t slot_count, rows, row_capacity;
    uint64_t width; /* a multiple of 64 */
    uint64_t seed;
    unsigned piece_bits;
} baash_replay;

/* reasons[count]: 0, REPLAYED or TOO_OLD. issuers: count × 16. */
BAASH_API int baash_replay_check(uint16_t *reasons, const baash_replay *replay, const uint8_t *issuers,
                                 const uint64_t *sequences, size_t count);
/* BAASH_E_FULL: no row for one more issuer. */
BAASH_API int baash_replay_mark(size_t *done, baash_replay *replay, const uint8_t *issuers, const uint64_t *sequences,
                                size_t count);
/* Marks all that `other`, of the same width, has marked, from its row *done on. */
BAASH_API int baash_replay_merge(size_t *done, baash_replay *replay, const baash_replay *other);
/* Fills slots (zeros before) from the issuers. */
BAASH_API int baash_replay_index(baash_replay *replay);

/* What baash_state_check notes down while it goes through `count` transactions. */
typedef struct baash_overlay {
    uint32_t *slots; /* 3 × slot_count, zeros */
    size_t slot_count; /* a power of two, at least 2 × count */
    uint64_t *issuer_rows; /* count */
    uint64_t *issuer_highests; /* count */
    uint32_t *issuer_firsts; /* count */
} baash_overlay;

/* reasons[count]: each transaction judged, in order, against table, replay and the valid ones before it; replays
 * before rules. entities: count × 32. The new state of the *written entities, each once: keys[count × 16],
 * versions, exists, last[count] (first + index of its last write). Neither table nor replay changes. */
BAASH_API int baash_state_check(uint16_t *reasons, uint8_t *keys, uint64_t *versions, uint8_t *exists, uint64_t *last,
                                size_t *written, baash_overlay *overlay, const baash_entity_table *table,
                                const baash_replay *replay, const baash_transaction_info *info, const uint8_t *entities,
                                size_t count, uint64_t first);

/* What one field of a replay table was. */
typedef struct baash_replay_step {
    uint32_t row;
    uint32_t word; /* of the row's bitmap; or one of BAASH_STEP_* */
    uint64_t value;
} baash_replay_step;

#define BAASH_STEP_HIGHEST UINT32_MAX /* the row's highest was `value` */
#define BAASH_STEP_NEW (UINT32_MAX - 1) /* there was no such row */

/* What baash_state_apply overwrote. Counts start at 0. */
typedef struct baash_undo {
    baash_entity *entities; /* entity_capacity: what was there; word 0: nothing */
    baash_replay_step *steps; /* step_capacity */
    size_t entity_count, entity_capacity, step_count, step_capacity;
} baash_undo;

/* Puts what baash_state_check found into table and replay: `written` entities, then the numbers of those of `count`
 * transactions whose reason is 0. *done, in and out, counts entities and then transactions. BAASH_E_FULL: the table is
 * at 70 % (*done < written), the replay table has no row, or steps has no room for width / 64 + 3 more; make room and
 * call again. BAASH_E_VALUE as baash_entity_upsert, or entity_capacity < written. Ends at *done in all cases, and
 * what was applied can be undone. */
BAASH_API int baash_state_apply(size_t *done, baash_undo *undo, baash_entity_table *table, baash_replay *replay,
                                const uint8_t *keys, const uint64_t *versions, const uint8_t *exists,
                                const uint64_t *last, size_t written, const uint16_t *reasons,
                                const baash_transaction_info *info, size_t count);
/* Takes all of it back, and sets the counts to 0. The newest apply first; what grew stays grown. */
BAASH_API int baash_state_undo(baash_undo *undo, baash_entity_table *table, baash_replay *replay);

/* ---- index files (docs/index-format.md) ---- */

#define BAASH_PAGE_BYTES 4096

/* A table in a file open for reading: rows of `row_bytes` (<= 4,088), as many as fit into each page, that begin with `key_words` (1 or
 * 2) words u8 and ascend by them; 0: rows without a key, to be read and not found. */
typedef struct baash_index_table {
    int file;
    uint32_t row_bytes, key_words;
    uint64_t first_page, rows;
    uint64_t salt; /* of the file */
    const uint64_t *fences; /* first words of the rows 0, fence_rows, 2 × fence_rows … as far as they are known: spares reads */
    uint64_t fence_count, fence_rows;
} baash_index_table;

/* Where reading failed. error: an errno, or 0. */
typedef struct baash_index_fault {
    uint64_t page;
    int error;
} baash_index_fault;

/* The last 8 bytes of each of `count` pages, the first of them being page `first` of its file, become their seals. */
BAASH_API int baash_index_seal(uint8_t *pages, size_t count, uint64_t salt, uint64_t first);
/* For each key: firsts[i], the first row whose key is not below lows[i]; counts[i], how many from there on have none above
 * highs[i]; rows[i × row_bytes], the first of them, if there is one. Reads single pages. BAASH_E_READ, BAASH_E_SEAL: `fault`. */
BAASH_API int baash_index_find(uint64_t *firsts, uint64_t *counts, uint8_t *rows, baash_index_fault *fault,
                               const baash_index_table *table, const uint64_t *lows, const uint64_t *highs, size_t keys);
/* rows[count × row_bytes]: rows `first` … of a table. Errors as above. */
BAASH_API int baash_index_rows(uint8_t *rows, baash_index_fault *fault, const baash_index_table *table, uint64_t first,
                               uint64_t count);
/* rows[count × row_bytes]: the rows with these numbers. Errors as above. */
BAASH_API int baash_index_take(uint8_t *rows, baash_index_fault *fault, const baash_index_table *table,
                               const uint64_t *numbers, size_t count);
/* Merges two runs of rows, each with a u4 behind its key, to which `shift` is added in those of b; of equal keys a's come first.
 * Ends when `capacity` rows are written or one run is used up: done[0] and done[1] are the rows taken of each. */
BAASH_API int baash_index_merge(uint8_t *out, size_t *done, size_t capacity, const uint8_t *a, size_t a_rows,
                                const uint8_t *b, size_t b_rows, uint32_t row_bytes, uint32_t key_words,
                                uint32_t shift);
/* Copies the records that begin at offsets[i] of a file, none beyond its byte `end`, one behind the other: ends[i]. `typical` bytes are
 * read of each at first. *done, in and out: how many are there. BAASH_E_FULL: no room for one more; BAASH_E_RANGE: there is no
 * record at offsets[*done]; BAASH_E_READ: *error. */
BAASH_API int baash_index_records(uint8_t *records, uint64_t *ends, size_t *done, int *error, size_t capacity, int file,
                                  uint64_t end, const uint64_t *offsets, size_t count, size_t typical);

/* What the rules over entities need of a transaction that is no NOTE. */
typedef struct baash_act {
    uint64_t key[2]; /* the first half of its entity's hash */
    uint64_t expected_version;
    uint32_t number; /* the caller's, for whatever it wants to say of it */
    uint8_t operation, pad[3];
} baash_act;

/* What baash_state_take met. */
typedef struct baash_taken {
    uint64_t acts; /* rows of acts that were filled */
    uint64_t is_signed, refers; /* transactions with a signature, with references */
    uint64_t strangers; /* whose entity is of another cluster */
} baash_taken;

/* In one pass over count transactions: their acts (at most count; `number` is first + index), and of each the print of its
 * (issuer, sequence) and the first 8 bytes of its id. owners[4096]: the cluster of each shard. */
BAASH_API int baash_state_take(baash_act *acts, uint64_t *pairs, uint64_t *ids8, baash_taken *taken,
                               const baash_transaction_info *info, const uint8_t *ids, const uint8_t *entities,
                               size_t count, uint32_t first, const uint32_t *owners, uint32_t cluster,
                               const uint64_t seeds[3]);
/* prints[count] of pairs: issuers[count × 16]. Equal pairs have equal prints; different ones of one issuer never; those
 * of two issuers only by chance (2^-64), which nobody can help along who does not know the seeds. */
BAASH_API int baash_state_prints(uint64_t *prints, const uint8_t *issuers, const uint64_t *sequences, size_t count,
                                 const uint64_t seeds[3]);
/* What baash_block_take works in. */
typedef struct baash_block_room {
    uint8_t *records; /* records_bytes: no larger block is read */
    baash_transaction_info *info; /* capacity rows; ids and entities: capacity × 32 */
    uint8_t *ids, *entities;
    size_t records_bytes, capacity;
    size_t piece_bytes; /* so many are read at a time, if blocks are smaller */
} baash_block_room;

/* Where records lie: `size` bytes from byte `begin` of a file open for reading. */
typedef struct baash_block_source {
    int file;
    uint64_t begin, size;
} baash_block_source;

enum {
    BAASH_WALK_DONE = 0, /* all blocks */
    BAASH_WALK_LOOK = 1, /* the piece is taken; some of its transactions are signed, refer to others, are of another cluster, or NOTEs */
    BAASH_WALK_UNTAKEN = 2, /* something is wrong with the piece, or it cannot be read, or has no room */
};

/* How far a walk has come. Zeros at first; to go on behind a piece, `block` becomes `after`. */
typedef struct baash_block_walk {
    size_t block, after; /* all before `block` is done; it stopped at the piece [block, after) */
    uint64_t transactions, acts; /* rows that were filled */
    uint64_t bytes, count; /* of the piece: what lies in the room */
    baash_taken met; /* in the piece */
    int stop; /* BAASH_WALK_* */
} baash_block_walk;

/* Reads blocks, rows[blocks × 128], from a file, holds them against their headers as baash_transaction_read and
 * baash_block_match do, and takes them as baash_state_take does; pairs, ids8, acts[capacity]. bounds[blocks + 1], from 0 on: the number
 * of each block's first transaction. ids of the room are used up. BAASH_E_VALUE: bounds ask for more than capacity. */
BAASH_API int baash_block_take(baash_block_walk *walk, baash_act *acts, uint64_t *pairs, uint64_t *ids8, size_t capacity,
                               const baash_block_room *room, const baash_block_source *source, const uint8_t *rows,
                               const uint64_t *bounds, size_t blocks, const uint32_t *owners, const uint64_t seeds[3],
                               int kernel);
/* The rules over entities alone, for who only replays what was decided: each act is judged (reasons[count]) and, if it
 * keeps the rules, done to the table at once. *done, in and out: BAASH_E_FULL when the table is at 70 %; grow, call again. */
BAASH_API int baash_state_follow(uint16_t *reasons, size_t *done, baash_entity_table *table, const baash_act *acts,
                                 size_t count);

#ifdef __cplusplus
}
#endif
#endif
