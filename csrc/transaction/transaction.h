/* The layout of a transaction (docs/ledger-format.md section 3). Not public. */
#ifndef BAASH_TRANSACTION_H
#define BAASH_TRANSACTION_H

#include "../baash.h"
#include "../bytes.h"

enum {
    AT_OPERATION = 3,
    AT_FLAGS = 4,
    AT_ENTITY_BYTES = 6,
    AT_TOTAL_BYTES = 8,
    AT_PAYLOAD_BYTES = 12,
    AT_ISSUER = 16,
    AT_SEQUENCE = 32,
    AT_TIME_NS = 40,
    AT_EXPECTED_VERSION = 48,
    AT_REFERENCE_COUNT = 56,
    AT_PAYLOAD_TYPE = 58,
    AT_RESERVED = 60,
    AT_ENTITY_TAG = 62,
    HEADER_BYTES = 64,
    SIGNATURE_BYTES = 96, /* public key and signature */
};

enum { TAG_TRANSACTION = 1, TAG_ENTITY = 2, FORMAT_VERSION = 1, FLAG_SIGNED = 1 };

/* baash.records holds the same limits; a test compares them. */
enum { ENTITY_BYTES_MAX = 4096, REFERENCES_MAX = 4096, PAYLOAD_BYTES_MAX = 16 << 20 };

static inline uint64_t padded(uint64_t bytes) { return (bytes + 7) & ~UINT64_C(7); }

/* CREATE, USE and NOTE expect no version. */
static inline int expects_version(int operation) { return operation == UPDATE || operation == RETIRE; }

_Static_assert(sizeof(baash_transaction_info) == 64, "baash.records.TRANSACTION_INFO");

#endif
