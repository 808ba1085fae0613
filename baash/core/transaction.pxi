# Transactions (csrc/transaction): read, encoded, gathered, hashed. Included by _core.pyx.

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
