/* A C program that knows baash.h alone and links the shared library: a rule check from records to reasons. */
#include "baash.h"

#include <stdio.h>
#include <string.h>

int main(void) {
    enum { COUNT = 3 };
    const uint8_t operations[COUNT] = {1, 2, 1}, issuer[16] = {0}, name[1] = {'x'};
    const uint64_t numbers[COUNT] = {0, 1, 2}, any[COUNT] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    const uint64_t none[COUNT + 1] = {0}, starts_of_names[2] = {0, 1};
    const uint16_t types[COUNT] = {0};
    uint8_t records[COUNT * 72], entities[COUNT * 32], keys[COUNT * 16], exists[COUNT];
    uint64_t offsets[COUNT + 1] = {0}, position = 0, versions[COUNT], last[COUNT], rows[COUNT], highests[COUNT];
    uint32_t slots[3 * 8] = {0}, firsts[COUNT], no_slots[2] = {0};
    uint16_t reasons[COUNT];
    baash_transaction_info info[COUNT];
    baash_entity entries[4] = {{{0, 0}, 0, 0}};
    baash_entity_table table = {entries, 4, NULL, 0, 0, 0, 0};
    baash_replay replay = {no_slots, NULL, NULL, 2, 0, 0, 64, 0, 0};
    baash_overlay overlay = {slots, 8, rows, highests, firsts};
    size_t at, count = 0, written;
    int reason, ok = baash_sha256_init(UINT32_MAX) == BAASH_OK;
    for (size_t i = 0; i < COUNT; i++) { /* three about the same name */
        baash_transaction_columns one = {operations + i,  numbers + i, numbers, any,   issuer, name, name, NULL,
                                         starts_of_names, none,        NULL,    types, 1,      0,    0,    1};
        uint64_t ends[2];
        ok &= baash_transaction_sizes(ends, &at, &reason, &one) == BAASH_OK && ends[1] == 72;
        ok &= baash_transaction_encode(records + 72 * i, ends, &one) == BAASH_OK;
        offsets[i + 1] = offsets[i] + ends[1];
    }
    ok &= baash_transaction_scan(info, &count, &position, &reason, COUNT, records, sizeof records) == BAASH_OK;
    ok &= count == COUNT && reason == 0;
    ok &= baash_transaction_entities(entities, &at, records, sizeof records, info, COUNT, BAASH_CHOSEN) == BAASH_OK;
    ok &= baash_state_check(reasons, keys, versions, exists, last, &written, &overlay, &table, &replay, info,
                            entities, COUNT, 100) == BAASH_OK;
    ok &= reasons[0] == 0 && reasons[1] == 0 && reasons[2] == 20 && written == 1;
    ok &= versions[0] == 2 && exists[0] == 1 && last[0] == 101 && memcmp(keys, entities, 16) == 0;
    printf("%s\n", ok ? "ok" : "wrong");
    return !ok;
}
