# Blocks, windows and votes (csrc/block, csrc/window, csrc/tally). Included by _core.pyx.

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


def block_headers(uint8_t[:, ::1] hashes, const uint8_t[:, ::1] rows, uint64_t height, uint32_t view,
                  uint64_t first_transaction, int kernel):
    """Whether all are good."""
    cdef int status, good = 0
    shape(rows.shape[0], rows.shape[1], rows.shape[0], 128)
    shape(hashes.shape[0], hashes.shape[1], rows.shape[0], 32)
    with nogil:
        status = baash_block_headers(&good, &hashes[0, 0], &rows[0, 0], rows.shape[0], height, view, first_transaction,
                                     kernel)
    check(status)
    return good != 0


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


cdef class Walk:
    """The blocks of a round on their way from a file to what is kept of them; keeps the arrays."""

    cdef baash_block_walk c
    cdef baash_block_room room
    cdef object arrays

    def __init__(self, uint8_t[::1] records, uint8_t[:, ::1] info, uint8_t[:, ::1] ids, uint8_t[:, ::1] entities,
                 size_t piece_bytes):
        cdef size_t n = info.shape[0]
        shape(info.shape[0], info.shape[1], n, 64)
        shape(ids.shape[0], ids.shape[1], n, 32)
        shape(entities.shape[0], entities.shape[1], n, 32)
        self.arrays = (records, info, ids, entities)
        self.room = baash_block_room(
            records=&records[0], info=<baash_transaction_info *> &info[0, 0], ids=&ids[0, 0], entities=&entities[0, 0],
            records_bytes=records.shape[0], capacity=n, piece_bytes=piece_bytes)

    def begin(self):
        self.c = baash_block_walk(block=0, after=0, transactions=0, acts=0, bytes=0, count=0, stop=0)

    @property
    def piece(self):
        """(first block, behind the last, transactions, bytes) of the piece it stopped at"""
        return self.c.block, self.c.after, self.c.count, self.c.bytes

    @property
    def filled(self):
        """(transactions, acts)"""
        return self.c.transactions, self.c.acts

    @property
    def met(self):
        """(signed, refers, strangers) of the piece"""
        return self.c.met.is_signed, self.c.met.refers, self.c.met.strangers

    def skip(self, uint64_t transactions, uint64_t acts):
        """Go on behind the piece, of which the caller filled so many rows."""
        self.c.block = self.c.after
        self.c.transactions += transactions
        self.c.acts += acts

    def take(self, uint8_t[:, ::1] acts, uint64_t[::1] pairs, uint64_t[::1] ids8, int file, uint64_t begin,
             uint64_t size, const uint8_t[:, ::1] rows, const uint64_t[::1] bounds, const uint32_t[::1] owners,
             const uint64_t[::1] seeds, int kernel):
        """Why it stopped."""
        cdef size_t blocks = rows.shape[0], n = acts.shape[0]
        cdef baash_block_source source = baash_block_source(file=file, begin=begin, size=size)
        cdef int status
        shape(rows.shape[0], rows.shape[1], blocks, 128)
        shape(acts.shape[0], acts.shape[1], n, 32)
        same(bounds.shape[0], blocks + 1)
        same(pairs.shape[0], n)
        same(ids8.shape[0], n)
        same(owners.shape[0], 4096)
        same(seeds.shape[0], 3)
        with nogil:
            status = baash_block_take(&self.c, <baash_act *> &acts[0, 0], &pairs[0], &ids8[0], n, &self.room, &source,
                                      &rows[0, 0], &bounds[0], blocks, &owners[0], &seeds[0], kernel)
        check(status, self.c.block)
        return self.c.stop


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


cdef class ViewRules:
    """What certificates of a view are held against; keeps the arrays."""

    cdef baash_view_rules c
    cdef object arrays

    def __init__(self, uint32_t view, const uint8_t[::1] ledger, uint32_t clusters, const uint32_t[::1] validator_of,
                 uint32_t sub_cluster, const uint32_t[::1] quorums):
        same(ledger.shape[0], 32)
        if quorums.shape[0] < 1:
            raise ValueError("there is a first attempt")
        self.arrays = (ledger, validator_of, quorums)
        self.c = baash_view_rules(
            ledger=&ledger[0], validator_of=&validator_of[0], quorums=&quorums[0], nodes=validator_of.shape[0],
            view=view, clusters=clusters, sub_cluster=sub_cluster, replacements=quorums.shape[0] - 1)

    def recount(self, uint8_t[:, ::1] windows, uint8_t[:, ::1] votes, uint8_t[::1] work,
                const uint8_t[:, ::1] body_rows, const uint64_t[::1] offsets, const uint8_t[::1] heap,
                const uint8_t[:, ::1] rows, int kernel):
        """(whether all holds, votes)"""
        cdef size_t n = body_rows.shape[0], count = 0
        cdef int status, hold = 0
        cdef baash_round_claims claims
        shape(body_rows.shape[0], body_rows.shape[1], n, 64)
        shape(windows.shape[0], windows.shape[1], n, 208)
        shape(votes.shape[0], votes.shape[1], votes.shape[0], 48)
        shape(rows.shape[0], rows.shape[1], rows.shape[0], 128)
        same(offsets.shape[0], n)
        same(work.shape[0], heap.shape[0])
        claims = baash_round_claims(windows=&body_rows[0, 0], offsets=&offsets[0], heap=&heap[0], rows=&rows[0, 0],
                                    window_count=n, heap_bytes=heap.shape[0], blocks=rows.shape[0])
        with nogil:
            status = baash_window_recount(&hold, &windows[0, 0], <baash_signed_vote *> &votes[0, 0], &count,
                                          votes.shape[0], &work[0], &claims, &self.c, kernel)
        check(status)
        return hold != 0, count
