/* The form of records: whatever bytes come in, nothing is read outside of them, and what is not a record has a reason.
 * Not here: the issuer's key against its id, and the signature (baash/keys.py). */
#include "transaction.h"

/* The last `padding` bytes, fewer than 8, before `end`; a record has 64 bytes before any of its ends. */
static int zeros(const uint8_t *end, uint64_t padding) {
    return padding == 0 || load64(end - 8) >> (64 - 8 * padding) == 0;
}

/* The record at p, of which `rest` bytes can be read. Header first, in its own order; then what needs more bytes. */
static int read_record(baash_transaction_info *info, const uint8_t *p, uint64_t rest) {
    if (rest < HEADER_BYTES) {
        return REASON_TRUNCATED;
    }
    uint8_t operation = p[AT_OPERATION];
    uint16_t flags = load16(p + AT_FLAGS);
    uint16_t entity = load16(p + AT_ENTITY_BYTES);
    uint32_t total = load32(p + AT_TOTAL_BYTES);
    uint32_t payload = load32(p + AT_PAYLOAD_BYTES);
    uint16_t references = load16(p + AT_REFERENCE_COUNT);
    if (p[0] != 0 || p[1] != TAG_TRANSACTION) {
        return REASON_BAD_TAG;
    }
    if (p[2] != FORMAT_VERSION) {
        return REASON_BAD_VERSION;
    }
    if (operation < CREATE || operation > NOTE) {
        return REASON_BAD_OPERATION;
    }
    if (flags & ~FLAG_SIGNED) {
        return REASON_BAD_FLAGS;
    }
    if (entity == 0 || entity > ENTITY_BYTES_MAX || p[AT_ENTITY_TAG] != 0 || p[AT_ENTITY_TAG + 1] != TAG_ENTITY) {
        return REASON_BAD_ENTITY;
    }
    if (payload > PAYLOAD_BYTES_MAX || references > REFERENCES_MAX) {
        return REASON_TOO_LARGE;
    }
    uint64_t payload_start = HEADER_BYTES + padded(entity) + UINT64_C(32) * references;
    uint64_t payload_end = payload_start + payload;
    if (total != padded(payload_end) + (flags & FLAG_SIGNED ? SIGNATURE_BYTES : 0)) {
        return REASON_BAD_LENGTH;
    }
    if (total > rest) {
        return REASON_TRUNCATED;
    }
    if (load16(p + AT_RESERVED) || !zeros(p + HEADER_BYTES + padded(entity), padded(entity) - entity) ||
        !zeros(p + padded(payload_end), padded(payload_end) - payload_end)) {
        return REASON_BAD_PADDING;
    }
    if (!expects_version(operation) && load64(p + AT_EXPECTED_VERSION) != ANY_VERSION) {
        return REASON_BAD_EXPECTED_VERSION;
    }
    if ((p[AT_ISSUER] >> 7) != (flags & FLAG_SIGNED)) {
        return REASON_BAD_ISSUER;
    }
    *info = (baash_transaction_info){
        .sequence = load64(p + AT_SEQUENCE),
        .expected_version = load64(p + AT_EXPECTED_VERSION),
        .total_bytes = total,
        .payload_bytes = payload,
        .payload_start = (uint32_t)payload_start,
        .entity_bytes = entity,
        .flags = flags,
        .reference_count = references,
        .payload_type = load16(p + AT_PAYLOAD_TYPE),
        .operation = operation,
    };
    memcpy(info->issuer, p + AT_ISSUER, 16);
    return REASON_NONE;
}

/* Where a record begins is known only when the one before it was read, so each step waits for memory. Records of one
 * window are mostly of a size: fetch the header and the name that lie so many of this size ahead. */
enum { AHEAD = 8, LINE = 64 };

static void fetch_ahead(const uint8_t *records, uint64_t records_bytes, uint64_t position, uint64_t size) {
    uint64_t ahead = position + AHEAD * size;
    if (ahead < records_bytes && records_bytes - ahead > LINE) {
        __builtin_prefetch(records + ahead);
        __builtin_prefetch(records + ahead + LINE);
    }
}

int baash_transaction_scan(baash_transaction_info *info, size_t *count, uint64_t *position, int *reason,
                           size_t capacity, const uint8_t *records, size_t records_bytes) {
    uint64_t at = *position;
    size_t n = *count;
    int found = REASON_NONE;
    while (at < records_bytes && n < capacity) {
        found = read_record(&info[n], records + at, records_bytes - at);
        if (found) {
            break;
        }
        fetch_ahead(records, records_bytes, at, info[n].total_bytes);
        info[n].start = at;
        at += info[n++].total_bytes;
    }
    *position = at;
    *count = n;
    *reason = found;
    return at < records_bytes && !found ? BAASH_E_FULL : BAASH_OK;
}
