# Merkle trees (csrc/merkle): roots, paths, the frontier of the log. Included by _core.pyx.

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
