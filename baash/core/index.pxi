# Index files (csrc/index): pages sealed, tables searched and merged. Included by _core.pyx.

from libc.string cimport memcpy


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
