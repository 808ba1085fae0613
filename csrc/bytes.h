/* Loads and stores at any alignment, and the reasons of baash.records.Reason that kernels give. */
#ifndef BAASH_BYTES_H
#define BAASH_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "records are read in place: a big-endian machine needs swaps in these functions"
#endif

enum {
    REASON_NONE = 0,
    REASON_TRUNCATED = 1,
    REASON_BAD_TAG = 2,
    REASON_BAD_VERSION = 3,
    REASON_BAD_OPERATION = 4,
    REASON_BAD_FLAGS = 5,
    REASON_BAD_LENGTH = 6,
    REASON_BAD_PADDING = 7,
    REASON_BAD_ENTITY = 8,
    REASON_BAD_EXPECTED_VERSION = 9,
    REASON_BAD_ISSUER = 10,
    REASON_TOO_LARGE = 12,
    REASON_ENTITY_EXISTS = 20,
    REASON_ENTITY_UNKNOWN = 21,
    REASON_VERSION_MISMATCH = 22,
    REASON_REPLAYED = 30,
    REASON_TOO_OLD = 31,
    REASON_WINDOW_MISMATCH = 40,
};

enum { CREATE = 1, UPDATE = 2, USE = 3, RETIRE = 4, NOTE = 5 };

#define ANY_VERSION UINT64_MAX

static inline uint16_t load16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t load32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t load64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store16(uint8_t *p, uint16_t v) { memcpy(p, &v, sizeof v); }
static inline void store32(uint8_t *p, uint32_t v) { memcpy(p, &v, sizeof v); }
static inline void store64(uint8_t *p, uint64_t v) { memcpy(p, &v, sizeof v); }

static inline uint32_t load32_be(const uint8_t *p) { return __builtin_bswap32(load32(p)); }
static inline void store32_be(uint8_t *p, uint32_t v) { store32(p, __builtin_bswap32(v)); }
static inline void store64_be(uint8_t *p, uint64_t v) { store64(p, __builtin_bswap64(v)); }

#endif
