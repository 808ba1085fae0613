# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The only place where Python meets C: typed memoryviews in, one C call without the GIL, a status to an exception.

Nothing is converted or allocated here, and shapes that belong together are compared because C cannot. The modules of
``baash.kernels`` are what to call.
"""

from libc.string cimport memcpy

cdef dict MESSAGES = {
    BAASH_E_RANGE: "span {at} lies outside its buffer",
    BAASH_E_ORDER: "offset {at} is larger than the one behind it",
    BAASH_E_VALUE: "item {at} has a value outside its limits",
    BAASH_E_FULL: "no room for item {at}",
    BAASH_E_KERNEL: "the kernel cannot run here",
    BAASH_E_READ: "item {at} cannot be read",
    BAASH_E_SEAL: "page {at} is not what was sealed",
}


cdef int fail(int status, size_t at) except -1:
    raise ValueError(MESSAGES[status].format(at=at))


cdef inline int check(int status, size_t at=0) except -1:
    return 0 if status == BAASH_OK else fail(status, at)


cdef int same(Py_ssize_t a, Py_ssize_t b) except -1:
    if a != b:
        raise ValueError(f"lengths that belong together differ: {a} and {b}")
    return 0


cdef int shape(Py_ssize_t have, Py_ssize_t have_wide, Py_ssize_t want, Py_ssize_t want_wide) except -1:
    if have != want or have_wide != want_wide:
        raise ValueError(f"shape ({want}, {want_wide}) is needed, not ({have}, {have_wide})")
    return 0


# ---- SHA-256 ----

def init(uint32_t cpu_mask=0xFFFFFFFF):
    return baash_sha256_init(cpu_mask) == BAASH_OK


def kernel_table():
    """[(name, cpu bits, lanes, state, reason)], by kernel number."""
    cdef baash_kernel_info info
    cdef int number = 0
    table = []
    while baash_sha256_info(&info, number) == BAASH_OK:
        table.append((info.name.decode(), info.cpu_bits, info.lanes, info.state, info.reason.decode()))
        number += 1
    return table


def chosen():
    return baash_sha256_chosen()


def partner():
    return baash_sha256_partner()


def choose(int number):
    check(baash_sha256_choose(number))


def openmp():
    return baash_openmp() == 1


def sha256_spans(uint8_t[:, ::1] out, const uint8_t[::1] data, const uint64_t[::1] starts,
                 const uint64_t[::1] lengths, int kernel, int threads):
    cdef size_t at = 0
    cdef int status
    same(starts.shape[0], lengths.shape[0])
    shape(out.shape[0], out.shape[1], starts.shape[0], 32)
    with nogil:
        status = baash_sha256_spans(&out[0, 0], &at, &data[0], data.shape[0], &starts[0], &lengths[0],
                                    starts.shape[0], kernel, threads)
    check(status, at)


def sha256_batch(uint8_t[:, ::1] out, const uint8_t[::1] data, const uint64_t[::1] offsets, int kernel,
                 int threads):
    cdef size_t at = 0
    cdef int status
    shape(out.shape[0], out.shape[1], offsets.shape[0] - 1, 32)
    with nogil:
        status = baash_sha256_batch(&out[0, 0], &at, &data[0], data.shape[0], &offsets[0], offsets.shape[0] - 1,
                                    kernel, threads)
    check(status, at)


def sha256_rows(uint8_t[:, ::1] out, const uint8_t[:, ::1] rows, size_t row_bytes, int kernel):
    cdef int status
    shape(out.shape[0], out.shape[1], rows.shape[0], 32)
    with nogil:
        status = baash_sha256_rows(&out[0, 0], &rows[0, 0], rows.shape[1], rows.shape[0], row_bytes, kernel)
    check(status)


# ---- Merkle trees ----

def merkle_roots(uint8_t[:, ::1] roots, uint8_t[:, ::1] work, uint64_t[::1] sizes, const uint64_t[::1] offsets,
                 int kernel):
    cdef size_t at = 0
    cdef int status
    shape(work.shape[0], work.shape[1], work.shape[0], 32)
    shape(roots.shape[0], roots.shape[1], sizes.shape[0], 32)
    same(offsets.shape[0], sizes.shape[0] + 1)
    with nogil:
        status = baash_merkle_roots(&roots[0, 0], &at, &work[0, 0], work.shape[0], &sizes[0], &offsets[0],
                                    sizes.shape[0], kernel)
    check(status, at)


def merkle_path(uint8_t[:, ::1] path, uint8_t[:, ::1] work, uint64_t index, int kernel):
    cdef size_t rows = 0
    cdef int status
    shape(path.shape[0], path.shape[1], 64, 32)
    shape(work.shape[0], work.shape[1], work.shape[0], 32)
    with nogil:
        status = baash_merkle_path(&path[0, 0], &rows, &work[0, 0], work.shape[0], index, kernel)
    check(status, index)
    return rows


def merkle_paths(uint8_t[:, ::1] paths, uint8_t[::1] path_rows, uint8_t[:, ::1] work, size_t depth, int kernel):
    cdef int status
    cdef size_t n = work.shape[0]
    shape(work.shape[0], work.shape[1], n, 32)
    shape(paths.shape[0], paths.shape[1], n * depth, 32)
    same(path_rows.shape[0], n)
    with nogil:
        status = baash_merkle_paths(&paths[0, 0], &path_rows[0], &work[0, 0], n, depth, kernel)
    check(status)


def merkle_fold(uint8_t[::1] root, const uint8_t[::1] leaf, uint64_t index, uint64_t size,
                const uint8_t[:, ::1] path, int kernel):
    same(root.shape[0], 32)
    same(leaf.shape[0], 32)
    shape(path.shape[0], path.shape[1], path.shape[0], 32)
    return baash_merkle_fold(&root[0], &leaf[0], index, size, &path[0, 0], path.shape[0], kernel) == BAASH_OK


def merkle_append(uint8_t[:, ::1] frontier, uint8_t[:, ::1] work, uint64_t size, const uint8_t[:, ::1] leaves,
                  int kernel):
    cdef int status
    shape(frontier.shape[0], frontier.shape[1], 64, 32)
    shape(leaves.shape[0], leaves.shape[1], leaves.shape[0], 32)
    shape(work.shape[0], work.shape[1], leaves.shape[0] + 1, 32)
    with nogil:
        status = baash_merkle_append(&frontier[0, 0], &work[0, 0], size, &leaves[0, 0], leaves.shape[0], kernel)
    check(status)


def merkle_frontier(uint8_t[::1] root, const uint8_t[:, ::1] frontier, uint64_t size, int kernel):
    same(root.shape[0], 32)
    shape(frontier.shape[0], frontier.shape[1], 64, 32)
    check(baash_merkle_frontier(&root[0], &frontier[0, 0], size, kernel))


# ---- Transactions ----

def transaction_scan(uint8_t[:, ::1] info, size_t count, uint64_t position, const uint8_t[::1] records):
    """(count, position, reason, full)"""
    cdef int status, reason = 0
    shape(info.shape[0], info.shape[1], info.shape[0], 64)
    with nogil:
        status = baash_transaction_scan(<baash_transaction_info *> &info[0, 0], &count, &position, &reason,
                                        info.shape[0], &records[0], records.shape[0])
    return count, position, reason, status == BAASH_E_FULL


def transaction_read(uint8_t[:, ::1] info, uint8_t[:, ::1] ids, uint8_t[:, ::1] entities, size_t count,
                     uint64_t position, const uint8_t[::1] records, int kernel):
    """(count, position, reason, full)"""
    cdef size_t at = 0
    cdef int status, reason = 0
    shape(info.shape[0], info.shape[1], info.shape[0], 64)
    shape(ids.shape[0], ids.shape[1], info.shape[0], 32)
    shape(entities.shape[0], entities.shape[1], info.shape[0], 32)
    with nogil:
        status = baash_transaction_read(<baash_transaction_info *> &info[0, 0], &ids[0, 0], &entities[0, 0], &count,
                                        &position, &reason, &at, info.shape[0], &records[0], records.shape[0], kernel)
    if status != BAASH_E_FULL:
        check(status, at)
    return count, position, reason, status == BAASH_E_FULL


cdef class Columns:
    """What the two steps of an encoding read; keeps the arrays."""

    cdef baash_transaction_columns c
    cdef object arrays

    def __init__(self, const uint8_t[::1] operations, const uint64_t[::1] sequences, const uint64_t[::1] times_ns,
                 const uint64_t[::1] expected_versions, const uint8_t[::1] issuer, const uint8_t[::1] entities,
                 const uint64_t[::1] entity_offsets, const uint8_t[::1] payloads,
                 const uint64_t[::1] payload_offsets, const uint16_t[::1] payload_types,
                 const uint8_t[:, ::1] references, const uint64_t[::1] reference_offsets):
        cdef Py_ssize_t n = operations.shape[0]
        for length in (sequences.shape[0], times_ns.shape[0], expected_versions.shape[0], payload_types.shape[0],
                       entity_offsets.shape[0] - 1, payload_offsets.shape[0] - 1, reference_offsets.shape[0] - 1):
            same(n, length)
        same(issuer.shape[0], 16)
        shape(references.shape[0], references.shape[1], references.shape[0], 32)
        self.arrays = (operations, sequences, times_ns, expected_versions, issuer, entities, entity_offsets, payloads,
                       payload_offsets, payload_types, references, reference_offsets)
        self.c = baash_transaction_columns(
            operations=&operations[0], sequences=&sequences[0], times_ns=&times_ns[0],
            expected_versions=&expected_versions[0], issuer=&issuer[0], entities=&entities[0],
            payloads=&payloads[0], references=&references[0, 0], entity_offsets=&entity_offsets[0],
            payload_offsets=&payload_offsets[0], reference_offsets=&reference_offsets[0],
            payload_types=&payload_types[0], entities_bytes=entities.shape[0], payloads_bytes=payloads.shape[0],
            references_count=references.shape[0], count=n)

    def sizes(self, uint64_t[::1] offsets):
        """(0, 0), or (reason, index) of what cannot be a record."""
        cdef size_t at = 0
        cdef int reason = 0
        same(offsets.shape[0], self.c.count + 1)
        with nogil:
            baash_transaction_sizes(&offsets[0], &at, &reason, &self.c)
        return reason, at

    def encode(self, uint8_t[::1] records, const uint64_t[::1] offsets):
        same(offsets.shape[0], self.c.count + 1)
        same(records.shape[0], offsets[self.c.count])
        with nogil:
            baash_transaction_encode(&records[0], &offsets[0], &self.c)


def gather(uint8_t[::1] out, const uint8_t[::1] data, const uint64_t[::1] starts, const uint64_t[::1] lengths):
    cdef size_t at = 0
    cdef int status
    same(starts.shape[0], lengths.shape[0])
    with nogil:
        status = baash_transaction_gather(&out[0], &at, out.shape[0], &data[0], data.shape[0], &starts[0],
                                          &lengths[0], starts.shape[0])
    check(status, at)


def transaction_hashes(uint8_t[:, ::1] out, const uint8_t[::1] records, const uint8_t[:, ::1] info, bint entities,
                       int kernel):
    cdef size_t at = 0, n = info.shape[0]
    cdef int status
    cdef const baash_transaction_info *rows = <const baash_transaction_info *> &info[0, 0]
    shape(info.shape[0], info.shape[1], n, 64)
    shape(out.shape[0], out.shape[1], n, 32)
    with nogil:
        if entities:
            status = baash_transaction_entities(&out[0, 0], &at, &records[0], records.shape[0], rows, n, kernel)
        else:
            status = baash_transaction_ids(&out[0, 0], &at, &records[0], records.shape[0], rows, n, kernel)
    check(status, at)


# ---- Blocks, windows and votes ----

def block_contents(uint8_t[:, ::1] out, const uint8_t[:, ::1] entries, uint32_t cluster, int kernel):
    cdef int status
    shape(entries.shape[0], entries.shape[1], entries.shape[0], 40)
    shape(out.shape[0], out.shape[1], entries.shape[0], 32)
    with nogil:
        status = baash_block_contents(&out[0, 0], &entries[0, 0], entries.shape[0], cluster, kernel)
    check(status)


def block_chain(uint8_t[:, ::1] hashes, uint8_t[:, ::1] rows, uint64_t height, const uint8_t[::1] parent, int kernel):
    cdef int status
    shape(rows.shape[0], rows.shape[1], rows.shape[0], 128)
    shape(hashes.shape[0], hashes.shape[1], rows.shape[0], 32)
    same(parent.shape[0], 32)
    with nogil:
        status = baash_block_chain(&hashes[0, 0], &rows[0, 0], rows.shape[0], height, &parent[0], kernel)
    check(status)


def block_match(uint8_t[:, ::1] work, const uint8_t[:, ::1] rows, const uint8_t[:, ::1] info, uint64_t records_bytes,
                int kernel):
    cdef int status, match = 0
    cdef size_t n = info.shape[0]
    shape(rows.shape[0], rows.shape[1], rows.shape[0], 128)
    shape(info.shape[0], info.shape[1], n, 64)
    shape(work.shape[0], work.shape[1], n, 32)
    with nogil:
        status = baash_block_match(&match, &work[0, 0], &rows[0, 0], rows.shape[0],
                                   <const baash_transaction_info *> &info[0, 0], n, records_bytes, kernel)
    check(status)
    return match != 0


cdef class Window:
    """A window as it came; keeps the arrays."""

    cdef baash_window c
    cdef object arrays

    def __init__(self, const uint8_t[::1] header, const uint8_t[:, ::1] entries, const uint8_t[::1] entities,
                 const uint8_t[::1] records):
        same(header.shape[0], 208)
        shape(entries.shape[0], entries.shape[1], entries.shape[0], 40)
        same(entities.shape[0] % 8, 0)
        self.arrays = (header, entries, entities, records)
        self.c = baash_window(
            header=&header[0], entries=&entries[0, 0], entities=&entities[0], records=&records[0],
            entry_count=entries.shape[0], entity_count=entities.shape[0] // 8, records_bytes=records.shape[0])

    def room(self):
        """(transactions, words of scratch)"""
        cdef size_t transactions = 0, words = 0
        baash_window_room(&transactions, &words, &self.c)
        return transactions, words

    def check(self, uint8_t[:, ::1] info, uint8_t[:, ::1] ids, uint8_t[:, ::1] entities, uint64_t[::1] work,
              uint32_t block_size, uint64_t seed, int kernel):
        """(transactions, valid blocks, reason, bad index, whole)"""
        cdef baash_window_verdict verdict
        cdef int status
        shape(info.shape[0], info.shape[1], info.shape[0], 64)
        shape(ids.shape[0], ids.shape[1], info.shape[0], 32)
        shape(entities.shape[0], entities.shape[1], info.shape[0], 32)
        with nogil:
            status = baash_window_check(&verdict, <baash_transaction_info *> &info[0, 0], &ids[0, 0], &entities[0, 0],
                                        info.shape[0], &work[0], work.shape[0], &self.c, block_size, seed, kernel)
        check(status)
        return verdict.transactions, verdict.valid_blocks, verdict.reason, verdict.bad_index, verdict.whole != 0


def tally(uint32_t[::1] decided, uint8_t[::1] outcome, uint64_t[:, ::1] dissent, const uint32_t[:, ::1] prefixes,
          const uint8_t[:, ::1] present, const uint32_t[::1] quorums, const uint32_t[::1] block_counts):
    cdef size_t at = 0, windows = prefixes.shape[0], members = prefixes.shape[1]
    cdef int status
    same(present.shape[0], windows)
    same(present.shape[1], members)
    shape(dissent.shape[0], dissent.shape[1], windows, (members + 63) // 64)
    for length in (decided.shape[0], outcome.shape[0], quorums.shape[0], block_counts.shape[0]):
        same(length, windows)
    with nogil:
        status = baash_tally_count(&decided[0], &outcome[0], &dissent[0, 0], &at, &prefixes[0, 0], &present[0, 0],
                                   &quorums[0], &block_counts[0], windows, members)
    check(status, at)


# ---- State: entries are rows of four u64, issuers too ----

cdef class Entities:
    """An entity table; keeps its arrays. `old` None: it does not grow at the moment."""

    cdef baash_entity_table c
    cdef object entries, old

    def __init__(self, uint64_t[:, ::1] entries, uint64_t[:, ::1] old, size_t moved, size_t used, uint64_t seed):
        shape(entries.shape[0], entries.shape[1], entries.shape[0], 4)
        self.entries, self.old = entries, old
        self.c = baash_entity_table(entries=<baash_entity *> &entries[0, 0], capacity=entries.shape[0], old=NULL,
                                    old_capacity=0, moved=moved, used=used, seed=seed)
        if old is not None:
            shape(old.shape[0], old.shape[1], old.shape[0], 4)
            self.c.old, self.c.old_capacity = <baash_entity *> &old[0, 0], old.shape[0]

    @property
    def used(self):
        return self.c.used

    @property
    def moved(self):
        return self.c.moved

    @property
    def grows(self):
        return self.c.old != NULL

    def grow(self, uint64_t[:, ::1] entries):
        shape(entries.shape[0], entries.shape[1], entries.shape[0], 4)
        check(baash_entity_grow(&self.c, <baash_entity *> &entries[0, 0], entries.shape[0]))
        self.entries, self.old = entries, self.entries

    cdef settle(self):
        if self.c.old == NULL:
            self.old = None

    def lookup(self, uint64_t[::1] versions, uint8_t[::1] exists, uint64_t[::1] last, const uint8_t[:, ::1] keys):
        cdef size_t n = keys.shape[0]
        shape(keys.shape[0], keys.shape[1], n, 16)
        for length in (versions.shape[0], exists.shape[0], last.shape[0]):
            same(length, n)
        with nogil:
            baash_entity_lookup(&versions[0], &exists[0], &last[0], &self.c, &keys[0, 0], n)

    def upsert(self, size_t done, const uint8_t[:, ::1] keys, const uint64_t[::1] versions,
               const uint8_t[::1] exists, const uint64_t[::1] last):
        """(done, whether the item there has a wrong value)"""
        cdef int status
        cdef size_t n = keys.shape[0]
        shape(keys.shape[0], keys.shape[1], n, 16)
        for length in (versions.shape[0], exists.shape[0], last.shape[0]):
            same(length, n)
        with nogil:
            status = baash_entity_upsert(&done, &self.c, &keys[0, 0], &versions[0], &exists[0], &last[0], n)
        self.settle()
        return done, status == BAASH_E_VALUE

    def remove(self, const uint8_t[:, ::1] keys):
        shape(keys.shape[0], keys.shape[1], keys.shape[0], 16)
        with nogil:
            baash_entity_remove(&self.c, &keys[0, 0], keys.shape[0])


cdef class Replay:
    """A view of the arrays of a replay table; keeps them. `bitmaps`: the addresses of its `pieces`."""

    cdef baash_replay c
    cdef object arrays

    def __init__(self, uint32_t[::1] slots, uint64_t[:, ::1] issuers, uint64_t[::1] bitmaps, list pieces,
                 unsigned int piece_bits, size_t rows, uint64_t width, uint64_t seed):
        shape(issuers.shape[0], issuers.shape[1], slots.shape[0] // 2, 4)
        same(bitmaps.shape[0], len(pieces))
        self.arrays = (slots, issuers, bitmaps, pieces)
        self.c = baash_replay(
            slots=&slots[0], issuers=<baash_issuer *> &issuers[0, 0], bitmaps=<uint64_t **> &bitmaps[0],
            slot_count=slots.shape[0], rows=rows, row_capacity=min(issuers.shape[0], len(pieces) << piece_bits),
            width=width, seed=seed, piece_bits=piece_bits)

    @property
    def rows(self):
        return self.c.rows

    def index(self):
        baash_replay_index(&self.c)

    def check(self, uint16_t[::1] reasons, const uint8_t[:, ::1] issuers, const uint64_t[::1] sequences):
        shape(issuers.shape[0], issuers.shape[1], sequences.shape[0], 16)
        same(reasons.shape[0], sequences.shape[0])
        with nogil:
            baash_replay_check(&reasons[0], &self.c, &issuers[0, 0], &sequences[0], sequences.shape[0])

    def mark(self, size_t done, const uint8_t[:, ::1] issuers, const uint64_t[::1] sequences):
        shape(issuers.shape[0], issuers.shape[1], sequences.shape[0], 16)
        with nogil:
            baash_replay_mark(&done, &self.c, &issuers[0, 0], &sequences[0], sequences.shape[0])
        return done

    def merge(self, size_t done, Replay other not None):
        with nogil:
            baash_replay_merge(&done, &self.c, &other.c)
        return done


def state_check(uint16_t[::1] reasons, uint8_t[:, ::1] keys, uint64_t[::1] versions, uint8_t[::1] exists,
                uint64_t[::1] last, uint32_t[:, ::1] slots, uint64_t[:, ::1] issuers, uint32_t[::1] firsts,
                Entities table not None, Replay replay not None, const uint8_t[:, ::1] info,
                const uint8_t[:, ::1] entities, uint64_t first, size_t slot_count):
    """The number of entities written."""
    cdef size_t n = info.shape[0], written = 0
    cdef int status
    cdef baash_overlay overlay
    shape(info.shape[0], info.shape[1], n, 64)
    shape(entities.shape[0], entities.shape[1], n, 32)
    shape(keys.shape[0], keys.shape[1], n, 16)
    shape(slots.shape[0], slots.shape[1], 3, slot_count)
    shape(issuers.shape[0], issuers.shape[1], 2, n)
    for length in (reasons.shape[0], versions.shape[0], exists.shape[0], last.shape[0], firsts.shape[0]):
        same(length, n)
    overlay.slots = &slots[0, 0]
    overlay.slot_count = slot_count
    overlay.issuer_rows = &issuers[0, 0]
    overlay.issuer_highests = &issuers[0, 0] + n
    overlay.issuer_firsts = &firsts[0]
    with nogil:
        status = baash_state_check(&reasons[0], &keys[0, 0], &versions[0], &exists[0], &last[0], &written, &overlay,
                                   &table.c, &replay.c,
                                   <const baash_transaction_info *> &info[0, 0], &entities[0, 0], n, first)
    check(status)
    return written


cdef class Undo:
    """What an apply overwrote; keeps its arrays."""

    cdef baash_undo c
    cdef object entities, steps

    def __init__(self, uint64_t[:, ::1] entities, uint64_t[:, ::1] steps):
        shape(entities.shape[0], entities.shape[1], entities.shape[0], 4)
        self.entities = entities
        self.c = baash_undo(entities=<baash_entity *> &entities[0, 0], entity_capacity=entities.shape[0],
                            steps=NULL, entity_count=0, step_count=0, step_capacity=0)
        self.room(steps)

    @property
    def steps_used(self):
        return self.c.step_count

    def room(self, uint64_t[:, ::1] steps):
        """From now on in these `steps`, which hold those so far."""
        shape(steps.shape[0], steps.shape[1], steps.shape[0], 2)
        self.steps, self.c.steps, self.c.step_capacity = steps, <baash_replay_step *> &steps[0, 0], steps.shape[0]

    def apply(self, size_t done, Entities table not None, Replay replay not None, const uint8_t[:, ::1] keys,
              const uint64_t[::1] versions, const uint8_t[::1] exists, const uint64_t[::1] last,
              const uint16_t[::1] reasons, const uint8_t[:, ::1] info):
        """(done, whether the item there has a wrong value)"""
        cdef int status
        cdef size_t written = keys.shape[0], n = info.shape[0]
        shape(keys.shape[0], keys.shape[1], written, 16)
        shape(info.shape[0], info.shape[1], reasons.shape[0], 64)
        for length in (versions.shape[0], exists.shape[0], last.shape[0]):
            same(length, written)
        with nogil:
            status = baash_state_apply(&done, &self.c, &table.c, &replay.c, &keys[0, 0], &versions[0], &exists[0],
                                       &last[0], written, &reasons[0],
                                       <const baash_transaction_info *> &info[0, 0], n)
        table.settle()
        return done, status == BAASH_E_VALUE

    def undo(self, Entities table not None, Replay replay not None):
        with nogil:
            baash_state_undo(&self.c, &table.c, &replay.c)


# ---- index files ----

class PageFault(Exception):
    """(page, errno): a page of an index file cannot be read; errno 0: the file ends before it; -1: its seal is broken."""


cdef int fault_of(int status, baash_index_fault fault) except -1:
    if status == BAASH_E_SEAL:
        raise PageFault(fault.page, -1)
    if status == BAASH_E_READ:
        raise PageFault(fault.page, fault.error)
    return check(status)


def index_seal(uint8_t[:, ::1] pages, uint64_t salt, uint64_t first):
    shape(pages.shape[0], pages.shape[1], pages.shape[0], 4096)
    with nogil:
        baash_index_seal(&pages[0, 0], pages.shape[0], salt, first)


cdef class IndexTable:
    """A sorted table in an open file."""

    cdef baash_index_table c
    cdef object fences

    def __init__(self, int file, uint64_t first_page, uint64_t rows, uint32_t row_bytes, uint32_t key_words,
                 uint64_t salt, const uint64_t[::1] fences, uint64_t fence_rows):
        self.fences = fences
        self.c = baash_index_table(file=file, first_page=first_page, rows=rows, row_bytes=row_bytes,
                                   key_words=key_words, salt=salt, fences=&fences[0], fence_count=fences.shape[0],
                                   fence_rows=fence_rows)
        if key_words > 2 or not 8 * key_words <= row_bytes <= (64 if key_words else 4088):
            raise ValueError("a row with a key has at most 64 bytes, of which the first 8 or 16 are its key")

    def find(self, uint64_t low, uint64_t high, uint64_t low2=0, uint64_t high2=0):
        """(first, count, the two u4 behind the key of the first row) of the rows with keys from low to high."""
        cdef uint64_t first = 0, count = 0
        cdef uint64_t[2] lows
        cdef uint64_t[2] highs
        cdef uint8_t[72] row
        cdef uint32_t[2] behind
        cdef baash_index_fault fault
        cdef int status
        if self.c.key_words == 0:
            raise ValueError("rows without a key cannot be found")
        lows[0], lows[1], highs[0], highs[1] = low, low2, high, high2
        with nogil:
            status = baash_index_find(&first, &count, row, &fault, &self.c, lows, highs, 1)
        if status != BAASH_OK:
            fault_of(status, fault)
        if count == 0:
            return first, 0, 0, 0
        memcpy(behind, row + 8 * self.c.key_words, 8)
        return first, count, behind[0], behind[1]

    def find_all(self, uint64_t[::1] firsts, uint64_t[::1] counts, uint8_t[:, ::1] rows, const uint64_t[:, ::1] lows,
                 const uint64_t[:, ::1] highs):
        cdef baash_index_fault fault
        cdef int status
        cdef size_t n = lows.shape[0]
        shape(lows.shape[0], lows.shape[1], n, self.c.key_words)
        shape(highs.shape[0], highs.shape[1], n, self.c.key_words)
        shape(rows.shape[0], rows.shape[1], n, self.c.row_bytes)
        same(firsts.shape[0], n)
        same(counts.shape[0], n)
        with nogil:
            status = baash_index_find(&firsts[0], &counts[0], &rows[0, 0], &fault, &self.c, &lows[0, 0], &highs[0, 0],
                                      n)
        fault_of(status, fault)

    def rows(self, uint8_t[:, ::1] out, uint64_t first):
        cdef baash_index_fault fault
        cdef int status
        shape(out.shape[0], out.shape[1], out.shape[0], self.c.row_bytes)
        with nogil:
            status = baash_index_rows(&out[0, 0], &fault, &self.c, first, out.shape[0])
        fault_of(status, fault)

    def first_u4(self, uint64_t number):
        """The first u4 of a row."""
        cdef baash_index_fault fault
        cdef int status
        cdef uint8_t[72] row
        cdef uint32_t value
        if self.c.row_bytes > 64:
            raise ValueError("a row of at most 64 bytes is needed")
        with nogil:
            status = baash_index_take(row, &fault, &self.c, &number, 1)
        if status != BAASH_OK:
            fault_of(status, fault)
        memcpy(&value, row, 4)
        return value

    def take(self, uint8_t[:, ::1] out, const uint64_t[::1] numbers):
        cdef baash_index_fault fault
        cdef int status
        shape(out.shape[0], out.shape[1], numbers.shape[0], self.c.row_bytes)
        with nogil:
            status = baash_index_take(&out[0, 0], &fault, &self.c, &numbers[0], numbers.shape[0])
        fault_of(status, fault)


def index_merge(uint8_t[:, ::1] out, const uint8_t[:, ::1] a, const uint8_t[:, ::1] b, uint32_t key_words,
                uint32_t shift):
    """(rows taken of a, of b)"""
    cdef size_t[2] done
    cdef int status
    shape(a.shape[0], a.shape[1], a.shape[0], out.shape[1])
    shape(b.shape[0], b.shape[1], b.shape[0], out.shape[1])
    with nogil:
        status = baash_index_merge(&out[0, 0], done, out.shape[0], &a[0, 0], a.shape[0], &b[0, 0], b.shape[0],
                                   out.shape[1], key_words, shift)
    check(status)
    return done[0], done[1]


def index_records(uint8_t[::1] records, uint64_t[::1] ends, size_t done, int file, uint64_t end,
                  const uint64_t[::1] offsets, size_t typical):
    """(how many are there, status, errno)"""
    cdef int status, error = 0
    same(ends.shape[0], offsets.shape[0])
    with nogil:
        status = baash_index_records(&records[0], &ends[0], &done, &error, records.shape[0], file, end, &offsets[0],
                                     offsets.shape[0], typical)
    return done, status, error


def state_take(uint8_t[:, ::1] acts, uint64_t[::1] pairs, uint64_t[::1] ids8, const uint8_t[:, ::1] info,
               const uint8_t[:, ::1] ids, const uint8_t[:, ::1] entities, uint32_t first, const uint32_t[::1] owners,
               uint32_t cluster, const uint64_t[::1] seeds):
    """(acts, signed, refers, strangers)"""
    cdef size_t n = info.shape[0]
    cdef baash_taken taken
    cdef int status
    shape(info.shape[0], info.shape[1], n, 64)
    shape(ids.shape[0], ids.shape[1], n, 32)
    shape(entities.shape[0], entities.shape[1], n, 32)
    shape(acts.shape[0], acts.shape[1], n, 32)
    same(pairs.shape[0], n)
    same(ids8.shape[0], n)
    same(owners.shape[0], 4096)
    same(seeds.shape[0], 3)
    with nogil:
        status = baash_state_take(<baash_act *> &acts[0, 0], &pairs[0], &ids8[0], &taken,
                                  <const baash_transaction_info *> &info[0, 0], &ids[0, 0], &entities[0, 0], n, first,
                                  &owners[0], cluster, &seeds[0])
    check(status)
    return taken.acts, taken.is_signed, taken.refers, taken.strangers


def state_prints(uint64_t[::1] prints, const uint8_t[:, ::1] issuers, const uint64_t[::1] sequences,
                 const uint64_t[::1] seeds):
    cdef size_t n = sequences.shape[0]
    shape(issuers.shape[0], issuers.shape[1], n, 16)
    same(prints.shape[0], n)
    same(seeds.shape[0], 3)
    with nogil:
        baash_state_prints(&prints[0], &issuers[0, 0], &sequences[0], n, &seeds[0])


def state_follow(uint16_t[::1] reasons, size_t done, Entities table not None, const uint8_t[:, ::1] acts):
    """How many acts are done; fewer than all: the table is full."""
    cdef size_t n = acts.shape[0]
    cdef int status
    shape(acts.shape[0], acts.shape[1], n, 32)
    same(reasons.shape[0], n)
    with nogil:
        status = baash_state_follow(&reasons[0], &done, &table.c, <const baash_act *> &acts[0, 0], n)
    table.settle()
    if status != BAASH_E_FULL:
        check(status)
    return done


init()
