# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The only place where Python meets C: typed memoryviews in, one C call without the GIL, a status to an exception.

Nothing is converted or allocated here, and shapes that belong together are compared because C cannot. One module, written in
``core/``: a file for each family of ``csrc/``. The modules of ``baash.kernels`` are what to call.
"""

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


include "core/sha256.pxi"
include "core/merkle.pxi"
include "core/transaction.pxi"
include "core/window.pxi"
include "core/state.pxi"
include "core/index.pxi"

init()
