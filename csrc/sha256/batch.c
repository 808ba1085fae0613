/* The three shapes of a batch: spans, ascending offsets, rows. All bounds are checked here, before a kernel or a thread
 * runs. */
#include "sha256.h"

int baash_sha256_spans(uint8_t *out, size_t *at, const uint8_t *data, size_t data_bytes, const uint64_t *starts,
                       const uint64_t *lengths, size_t count, int kernel, int threads) {
    if (!baash_sha256_usable(kernel)) {
        return BAASH_E_KERNEL;
    }
    if (threads < 1) {
        *at = 0;
        return BAASH_E_VALUE;
    }
    for (size_t i = 0; i < count; i++) {
        if (lengths[i] > data_bytes || starts[i] > data_bytes - lengths[i]) {
            *at = i;
            return BAASH_E_RANGE;
        }
    }
    baash_sha256_share_out(out, &(baash_sha256_messages){data, starts, lengths, count}, kernel, threads);
    return BAASH_OK;
}

/* The first pass has no branch in its loop, for almost always nothing is wrong. */
static int check_offsets(size_t *at, const uint64_t *offsets, size_t count, size_t data_bytes) {
    uint64_t descends = 0;
    for (size_t i = 0; i < count; i++) {
        descends |= offsets[i + 1] < offsets[i];
    }
    if (!descends && offsets[count] <= data_bytes) {
        return BAASH_OK;
    }
    for (size_t i = 0; i < count; i++) {
        if (offsets[i + 1] < offsets[i] || offsets[i + 1] > data_bytes) {
            *at = i;
            return offsets[i + 1] < offsets[i] ? BAASH_E_ORDER : BAASH_E_RANGE;
        }
    }
    return BAASH_OK; /* no message, and an offset that nothing depends on */
}

int baash_sha256_batch(uint8_t *out, size_t *at, const uint8_t *data, size_t data_bytes, const uint64_t *offsets,
                       size_t count, int kernel, int threads) {
    if (!baash_sha256_usable(kernel)) {
        return BAASH_E_KERNEL;
    }
    if (threads < 1) {
        *at = 0;
        return BAASH_E_VALUE;
    }
    int status = check_offsets(at, offsets, count, data_bytes);
    if (status) {
        return status;
    }
    baash_sha256_share_out(out, &(baash_sha256_messages){data, offsets, NULL, count}, kernel, threads);
    return BAASH_OK;
}

int baash_sha256_rows(uint8_t *out, const uint8_t *rows, size_t stride, size_t count, size_t row_bytes, int kernel) {
    uint64_t starts[SHA256_CHUNK], lengths[SHA256_CHUNK];
    if (!baash_sha256_usable(kernel)) {
        return BAASH_E_KERNEL;
    }
    if (row_bytes > stride) {
        return BAASH_E_VALUE;
    }
    for (size_t i = 0; i < SHA256_CHUNK && i < count; i++) {
        starts[i] = stride * i, lengths[i] = row_bytes;
    }
    for (size_t done = 0; done < count; done += SHA256_CHUNK) {
        size_t n = count - done < SHA256_CHUNK ? count - done : SHA256_CHUNK;
        baash_sha256_hash(out + 32 * done, rows + stride * done, starts, lengths, n, kernel);
    }
    return BAASH_OK;
}
