# SHA-256 (csrc/sha256): the kernels there are, and batches of hashes. Included by _core.pyx.

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
