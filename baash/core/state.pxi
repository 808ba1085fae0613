# State (csrc/state): tables whose entries are rows of four u64, issuers too; the rules, one window or the whole history.
# Included by _core.pyx.

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
