/* Columns to unsigned records, in two steps so that the caller can provide the room between them. */
#include "transaction.h"

static int span_ok(uint64_t *bytes, const uint64_t *offsets, size_t i, uint64_t limit) {
    *bytes = offsets[i + 1] - offsets[i];
    return offsets[i] <= offsets[i + 1] && offsets[i + 1] <= limit;
}

/* REASON_NONE, or why transaction i cannot be a record; its size. */
static int size_one(uint64_t *total, const baash_transaction_columns *c, size_t i) {
    uint64_t entity, payload, references = 0;
    uint8_t operation = c->operations[i];
    if (operation < CREATE || operation > NOTE) {
        return REASON_BAD_OPERATION;
    }
    if (!span_ok(&entity, c->entity_offsets, i, c->entities_bytes) || entity == 0 || entity > ENTITY_BYTES_MAX) {
        return REASON_BAD_ENTITY;
    }
    if (!span_ok(&payload, c->payload_offsets, i, c->payloads_bytes)) {
        return REASON_BAD_LENGTH;
    }
    if (c->reference_offsets && !span_ok(&references, c->reference_offsets, i, c->references_count)) {
        return REASON_BAD_LENGTH;
    }
    if (payload > PAYLOAD_BYTES_MAX || references > REFERENCES_MAX) {
        return REASON_TOO_LARGE;
    }
    if (!expects_version(operation) && c->expected_versions[i] != ANY_VERSION) {
        return REASON_BAD_EXPECTED_VERSION;
    }
    *total = HEADER_BYTES + padded(entity) + 32 * references + padded(payload);
    return REASON_NONE;
}

int baash_transaction_sizes(uint64_t *offsets, size_t *at, int *limit, const baash_transaction_columns *c) {
    *limit = c->issuer[0] >> 7 ? REASON_BAD_ISSUER : REASON_NONE;
    *at = 0;
    offsets[0] = 0;
    for (size_t i = 0; i < c->count && !*limit; i++) {
        uint64_t total = 0;
        *limit = size_one(&total, c, i);
        *at = i;
        offsets[i + 1] = offsets[i] + total;
    }
    return *limit ? BAASH_E_VALUE : BAASH_OK;
}

/* Copies and pads with zeros; gives where the next part begins. */
static uint8_t *put(uint8_t *p, const uint8_t *from, uint64_t bytes) {
    uint64_t room = padded(bytes);
    if (room) {
        store64(p + room - 8, 0);
        memcpy(p, from, bytes);
    }
    return p + room;
}

int baash_transaction_encode(uint8_t *records, const uint64_t *offsets, const baash_transaction_columns *c) {
    for (size_t i = 0; i < c->count; i++) {
        uint8_t *p = records + offsets[i];
        uint64_t entity = c->entity_offsets[i + 1] - c->entity_offsets[i];
        uint64_t payload = c->payload_offsets[i + 1] - c->payload_offsets[i];
        uint64_t references = c->reference_offsets ? c->reference_offsets[i + 1] - c->reference_offsets[i] : 0;
        p[0] = 0;
        p[1] = TAG_TRANSACTION;
        p[2] = FORMAT_VERSION;
        p[AT_OPERATION] = c->operations[i];
        store16(p + AT_FLAGS, 0);
        store16(p + AT_ENTITY_BYTES, (uint16_t)entity);
        store32(p + AT_TOTAL_BYTES, (uint32_t)(offsets[i + 1] - offsets[i]));
        store32(p + AT_PAYLOAD_BYTES, (uint32_t)payload);
        memcpy(p + AT_ISSUER, c->issuer, 16);
        store64(p + AT_SEQUENCE, c->sequences[i]);
        store64(p + AT_TIME_NS, c->times_ns[i]);
        store64(p + AT_EXPECTED_VERSION, c->expected_versions[i]);
        store16(p + AT_REFERENCE_COUNT, (uint16_t)references);
        store16(p + AT_PAYLOAD_TYPE, c->payload_types[i]);
        store16(p + AT_RESERVED, 0);
        p[AT_ENTITY_TAG] = 0;
        p[AT_ENTITY_TAG + 1] = TAG_ENTITY;
        p = put(p + HEADER_BYTES, c->entities + c->entity_offsets[i], entity);
        if (references) {
            p = put(p, c->references + 32 * c->reference_offsets[i], 32 * references);
        }
        put(p, c->payloads + c->payload_offsets[i], payload);
    }
    return BAASH_OK;
}
