# csrc/baash.h, as far as _core.pyx calls it.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "baash.h" nogil:
    enum:
        BAASH_OK, BAASH_E_RANGE, BAASH_E_ORDER, BAASH_E_KERNEL, BAASH_E_FULL, BAASH_E_VALUE,
        BAASH_E_READ, BAASH_E_SEAL

    ctypedef struct baash_kernel_info:
        const char *name
        uint32_t cpu_bits
        int lanes, state
        const char *reason

    int baash_sha256_init(uint32_t cpu_mask)
    int baash_sha256_info(baash_kernel_info *, int)
    int baash_sha256_chosen()
    int baash_sha256_partner()
    int baash_sha256_choose(int)
    int baash_openmp()
    int baash_sha256_spans(uint8_t *, size_t *, const uint8_t *, size_t, const uint64_t *, const uint64_t *, size_t, int,
                           int)
    int baash_sha256_batch(uint8_t *, size_t *, const uint8_t *, size_t, const uint64_t *, size_t, int, int)
    int baash_sha256_rows(uint8_t *, const uint8_t *, size_t, size_t, size_t, int)

    int baash_merkle_roots(uint8_t *, size_t *, uint8_t *, size_t, uint64_t *, const uint64_t *, size_t, int)
    int baash_merkle_path(uint8_t *, size_t *, uint8_t *, size_t, uint64_t, int)
    int baash_merkle_paths(uint8_t *paths, uint8_t *path_rows, uint8_t *work, size_t leaves, size_t depth,
                           int kernel) nogil
    int baash_merkle_fold(uint8_t *, const uint8_t *, uint64_t, uint64_t, const uint8_t *, size_t, int)
    int baash_merkle_append(uint8_t *, uint8_t *, uint64_t, const uint8_t *, size_t, int)
    int baash_merkle_frontier(uint8_t *, const uint8_t *, uint64_t, int)

    ctypedef struct baash_transaction_info:
        pass

    ctypedef struct baash_transaction_columns:
        const uint8_t *operations
        const uint64_t *sequences
        const uint64_t *times_ns
        const uint64_t *expected_versions
        const uint8_t *issuer
        const uint8_t *entities
        const uint8_t *payloads
        const uint8_t *references
        const uint64_t *entity_offsets
        const uint64_t *payload_offsets
        const uint64_t *reference_offsets
        const uint16_t *payload_types
        size_t entities_bytes, payloads_bytes, references_count, count

    int baash_transaction_scan(
        baash_transaction_info *, size_t *, uint64_t *, int *, size_t, const uint8_t *, size_t)
    int baash_transaction_read(
        baash_transaction_info *, uint8_t *, uint8_t *, size_t *, uint64_t *, int *, size_t *, size_t,
        const uint8_t *, size_t, int)
    int baash_transaction_sizes(uint64_t *, size_t *, int *, const baash_transaction_columns *)
    int baash_transaction_encode(uint8_t *, const uint64_t *, const baash_transaction_columns *)
    int baash_transaction_gather(
        uint8_t *, size_t *, size_t, const uint8_t *, size_t, const uint64_t *, const uint64_t *, size_t)
    int baash_transaction_ids(
        uint8_t *, size_t *, const uint8_t *, size_t, const baash_transaction_info *, size_t, int)
    int baash_transaction_entities(
        uint8_t *, size_t *, const uint8_t *, size_t, const baash_transaction_info *, size_t, int)

    int baash_block_contents(uint8_t *, const uint8_t *, size_t, uint32_t, int)
    int baash_block_match(int *, uint8_t *, const uint8_t *, size_t, const baash_transaction_info *, size_t, uint64_t,
                          int)
    int baash_block_headers(int *, uint8_t *, const uint8_t *, size_t, uint64_t, uint32_t, uint64_t, int)
    int baash_block_chain(uint8_t *, uint8_t *, size_t, uint64_t, const uint8_t *, int)

    ctypedef struct baash_window:
        const uint8_t *header
        const uint8_t *entries
        const uint8_t *entities
        const uint8_t *records
        size_t entry_count, entity_count, records_bytes

    ctypedef struct baash_window_verdict:
        uint64_t transactions, bad_index
        uint32_t valid_blocks
        uint16_t reason, whole

    int baash_window_room(size_t *, size_t *, const baash_window *)
    int baash_window_check(
        baash_window_verdict *, baash_transaction_info *, uint8_t *, uint8_t *, size_t, uint64_t *, size_t,
        const baash_window *, uint32_t, uint64_t, int)

    int baash_tally_count(uint32_t *, uint8_t *, uint64_t *, size_t *, const uint32_t *, const uint8_t *, const uint32_t *,
                          const uint32_t *, size_t, size_t)

    ctypedef struct baash_entity:
        pass

    ctypedef struct baash_entity_table:
        baash_entity *entries
        size_t capacity
        baash_entity *old
        size_t old_capacity, moved, used
        uint64_t seed

    ctypedef struct baash_issuer:
        pass

    ctypedef struct baash_replay:
        uint32_t *slots
        baash_issuer *issuers
        uint64_t **bitmaps
        size_t slot_count, rows, row_capacity
        uint64_t width, seed
        unsigned int piece_bits

    ctypedef struct baash_overlay:
        uint32_t *slots
        size_t slot_count
        uint64_t *issuer_rows
        uint64_t *issuer_highests
        uint32_t *issuer_firsts

    ctypedef struct baash_replay_step:
        pass

    ctypedef struct baash_undo:
        baash_entity *entities
        baash_replay_step *steps
        size_t entity_count, entity_capacity, step_count, step_capacity

    int baash_entity_lookup(uint64_t *, uint8_t *, uint64_t *, const baash_entity_table *, const uint8_t *, size_t)
    int baash_entity_upsert(size_t *, baash_entity_table *, const uint8_t *, const uint64_t *, const uint8_t *,
                            const uint64_t *, size_t)
    int baash_entity_remove(baash_entity_table *, const uint8_t *, size_t)
    int baash_entity_grow(baash_entity_table *, baash_entity *, size_t)

    int baash_replay_check(uint16_t *, const baash_replay *, const uint8_t *, const uint64_t *, size_t)
    int baash_replay_mark(size_t *, baash_replay *, const uint8_t *, const uint64_t *, size_t)
    int baash_replay_merge(size_t *, baash_replay *, const baash_replay *)
    int baash_replay_index(baash_replay *)

    int baash_state_check(uint16_t *, uint8_t *, uint64_t *, uint8_t *, uint64_t *, size_t *, baash_overlay *,
                          const baash_entity_table *, const baash_replay *, const baash_transaction_info *,
                          const uint8_t *, size_t, uint64_t)
    int baash_state_apply(size_t *, baash_undo *, baash_entity_table *, baash_replay *, const uint8_t *,
                          const uint64_t *, const uint8_t *, const uint64_t *, size_t, const uint16_t *,
                          const baash_transaction_info *, size_t)
    int baash_state_undo(baash_undo *, baash_entity_table *, baash_replay *)

    ctypedef struct baash_index_table:
        int file
        uint32_t row_bytes, key_words
        uint64_t first_page, rows, salt
        const uint64_t *fences
        uint64_t fence_count, fence_rows

    ctypedef struct baash_index_fault:
        uint64_t page
        int error

    int baash_index_seal(uint8_t *, size_t, uint64_t, uint64_t)
    int baash_index_find(uint64_t *, uint64_t *, uint8_t *, baash_index_fault *, const baash_index_table *,
                         const uint64_t *, const uint64_t *, size_t)
    int baash_index_rows(uint8_t *, baash_index_fault *, const baash_index_table *, uint64_t, uint64_t)
    int baash_index_take(uint8_t *, baash_index_fault *, const baash_index_table *, const uint64_t *, size_t)
    int baash_index_merge(uint8_t *, size_t *, size_t, const uint8_t *, size_t, const uint8_t *, size_t, uint32_t,
                          uint32_t, uint32_t)
    int baash_index_records(uint8_t *, uint64_t *, size_t *, int *, size_t, int, uint64_t, const uint64_t *, size_t,
                            size_t)

    ctypedef struct baash_act:
        pass

    ctypedef struct baash_taken:
        uint64_t acts, is_signed, refers, strangers

    int baash_state_take(baash_act *, uint64_t *, uint64_t *, baash_taken *, const baash_transaction_info *,
                         const uint8_t *, const uint8_t *, size_t, uint32_t, const uint32_t *, uint32_t,
                         const uint64_t *)
    int baash_state_prints(uint64_t *, const uint8_t *, const uint64_t *, size_t, const uint64_t *)
    int baash_state_follow(uint16_t *, size_t *, baash_entity_table *, const baash_act *, size_t)

    ctypedef struct baash_block_room:
        uint8_t *records
        baash_transaction_info *info
        uint8_t *ids
        uint8_t *entities
        size_t records_bytes, capacity, piece_bytes

    ctypedef struct baash_block_source:
        int file
        uint64_t begin, size

    ctypedef struct baash_block_walk:
        size_t block, after
        uint64_t transactions, acts, bytes, count
        baash_taken met
        int stop

    int baash_block_take(baash_block_walk *, baash_act *, uint64_t *, uint64_t *, size_t, const baash_block_room *,
                         const baash_block_source *, const uint8_t *, const uint64_t *, size_t, const uint32_t *,
                         const uint64_t *, int)

    ctypedef struct baash_view_rules:
        const uint8_t *ledger
        const uint32_t *validator_of
        const uint32_t *quorums
        size_t nodes
        uint32_t view, clusters, sub_cluster, replacements

    ctypedef struct baash_round_claims:
        const uint8_t *windows
        const uint64_t *offsets
        const uint8_t *heap
        const uint8_t *rows
        size_t window_count, heap_bytes, blocks

    ctypedef struct baash_signed_vote:
        pass

    int baash_window_recount(int *, uint8_t *, baash_signed_vote *, size_t *, size_t, uint8_t *,
                             const baash_round_claims *, const baash_view_rules *, int)
