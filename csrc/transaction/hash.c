/* Ids and entity hashes of scanned records, and copies of spans. */
#include "../sha256/sha256.h"
#include "transaction.h"

int baash_transaction_gather(uint8_t *out, size_t *at, size_t out_bytes, const uint8_t *data, size_t data_bytes,
                             const uint64_t *starts, const uint64_t *lengths, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (lengths[i] > data_bytes || starts[i] > data_bytes - lengths[i] || lengths[i] > out_bytes) {
            *at = i;
            return BAASH_E_RANGE;
        }
        if (lengths[i]) {
            memcpy(out, data + starts[i], lengths[i]);
        }
        out += lengths[i];
        out_bytes -= lengths[i];
    }
    return BAASH_OK;
}

/* Hashes of [start + skip, start + skip + length), where `length` is the record's, or its name and tag. */
static int hash_parts(uint8_t *out, size_t *at, const uint8_t *records, size_t records_bytes,
                      const baash_transaction_info *info, size_t count, int kernel, int names) {
    uint64_t starts[SHA256_CHUNK], lengths[SHA256_CHUNK];
    if (!baash_sha256_usable(kernel)) {
        return BAASH_E_KERNEL;
    }
    for (size_t done = 0; done < count; done += SHA256_CHUNK) {
        size_t n = count - done < SHA256_CHUNK ? count - done : SHA256_CHUNK;
        for (size_t i = 0; i < n; i++) {
            baash_transaction_info one;
            memcpy(&one, &info[done + i], sizeof one);
            uint64_t end = names ? UINT64_C(64) + one.entity_bytes : one.total_bytes;
            if (end > records_bytes || one.start > records_bytes - end) {
                *at = done + i;
                return BAASH_E_RANGE;
            }
            starts[i] = one.start + (names ? AT_ENTITY_TAG : 0);
            lengths[i] = end - (names ? AT_ENTITY_TAG : 0);
        }
        baash_sha256_hash(out + 32 * done, records, starts, lengths, n, kernel);
    }
    return BAASH_OK;
}

int baash_transaction_ids(uint8_t *out, size_t *at, const uint8_t *records, size_t records_bytes,
                          const baash_transaction_info *info, size_t count, int kernel) {
    return hash_parts(out, at, records, records_bytes, info, count, kernel, 0);
}

int baash_transaction_entities(uint8_t *out, size_t *at, const uint8_t *records, size_t records_bytes,
                               const baash_transaction_info *info, size_t count, int kernel) {
    return hash_parts(out, at, records, records_bytes, info, count, kernel, 1);
}
