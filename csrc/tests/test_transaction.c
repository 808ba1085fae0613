/* What is encoded scans; whatever is changed or cut off, nothing outside is read and what is accepted encodes the same. */
#include "test.h"

enum { COUNT = 5 };

static const uint8_t operations[COUNT] = {1, 2, 3, 4, 5};
static const uint64_t numbers[COUNT] = {0, 1, 2, 3, UINT64_MAX};
static const uint64_t any[COUNT] = {UINT64_MAX, 7, UINT64_MAX, 0, UINT64_MAX};
static const uint8_t issuer[16] = {0x7f, 1, 2, 3}, bytes[128] = {"entities and payloads, cut by their offsets"};
static const uint64_t entity_ends[COUNT + 1] = {0, 1, 8, 9, 20, 43};
static const uint64_t payload_ends[COUNT + 1] = {0, 0, 8, 15, 24, 41}, reference_ends[COUNT + 1] = {0, 0, 1, 1, 3, 4};
static const uint16_t types[COUNT] = {0, 1, 2, 3, 65535};

static const baash_transaction_columns columns = {
    operations,   numbers,      numbers,           any,          issuer,         bytes,
    bytes,        bytes,        entity_ends,       payload_ends, reference_ends, types,
    sizeof bytes, sizeof bytes, sizeof bytes / 32, COUNT,
};

static size_t scan(const uint8_t *records, size_t length, int *reason) {
    baash_transaction_info info[COUNT + 1];
    uint8_t hashes[32 * (COUNT + 1)];
    uint64_t position = 0;
    size_t count = 0, at;
    CHECK(baash_transaction_scan(info, &count, &position, reason, COUNT + 1, records, length) == BAASH_OK);
    CHECK(position <= length && (*reason || position == length));
    CHECK(baash_transaction_ids(hashes, &at, records, length, info, count, BAASH_CHOSEN) == BAASH_OK);
    CHECK(baash_transaction_entities(hashes, &at, records, length, info, count, BAASH_CHOSEN) == BAASH_OK);
    return count;
}

int main(void) {
    uint64_t offsets[COUNT + 1], seed = 3;
    size_t at;
    int reason;
    CHECK(baash_sha256_init(UINT32_MAX) == BAASH_OK);
    CHECK(baash_transaction_sizes(offsets, &at, &reason, &columns) == BAASH_OK);
    size_t length = offsets[COUNT];
    uint8_t *records = room(length);
    CHECK(baash_transaction_encode(records, offsets, &columns) == BAASH_OK);
    CHECK(scan(records, length, &reason) == COUNT && reason == 0);

    for (size_t cut = 0; cut <= length; cut++) { /* cut off anywhere */
        uint8_t *exact = memcpy(room(cut), records, cut);
        size_t count = scan(exact, cut, &reason);
        CHECK(offsets[count] <= cut && reason == (offsets[count] == cut ? 0 : 1));
        free(exact);
    }
    for (size_t i = 0; i < length; i++) { /* any one byte changed, and then some more at random */
        for (int value = 0; value < 256; value++) {
            uint8_t *exact = memcpy(room(length), records, length);
            exact[i] = (uint8_t)value;
            scan(exact, length, &reason);
            exact[draw(&seed) % length] = (uint8_t)draw(&seed);
            exact[draw(&seed) % length] ^= (uint8_t)(1 << draw(&seed) % 8);
            scan(exact, length, &reason);
            free(exact);
        }
    }
    baash_transaction_info outside = {.start = length - 64, .total_bytes = 72, .entity_bytes = 1};
    uint8_t hash[32];
    CHECK(baash_transaction_ids(hash, &at, records, length, &outside, 1, BAASH_CHOSEN) == BAASH_E_RANGE);
    CHECK(baash_transaction_entities(hash, &at, records, length, &outside, 1, BAASH_CHOSEN) == BAASH_E_RANGE);
    free(records);
    return 0;
}
