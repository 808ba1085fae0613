/* The worked cases; all small worlds are tried from Python (tests/unit/test_kernels_tally.py). */
#include "test.h"

static void expect(const uint32_t prefixes[4], const uint8_t present[4], uint32_t quorum, uint32_t decided, int status,
                   uint64_t dissent) {
    uint32_t blocks = 5, got;
    uint8_t got_status;
    uint64_t got_dissent;
    size_t at;
    CHECK(baash_tally_count(&got, &got_status, &got_dissent, &at, prefixes, present, &quorum, &blocks, 1, 4) == BAASH_OK);
    CHECK(got == decided && got_status == status && got_dissent == dissent);
}

int main(void) {
    const uint32_t same[] = {5, 5, 5, 9}, mixed[] = {5, 2, 3, 0}, none[] = {0, 0, 0, 0};
    const uint8_t all[] = {1, 1, 1, 1}, three[] = {1, 1, 1, 0}, two[] = {1, 1, 0, 0}, gone[] = {1, 1, 2, 2};
    const uint8_t unknown[] = {1, 3, 0, 0};
    uint32_t decided, quorum = 3, blocks = 5;
    uint8_t status;
    size_t at = 9;
    expect(same, all, 3, 5, BAASH_TALLY_SETTLED, 0x0);
    expect(same, three, 3, 5, BAASH_TALLY_SETTLED, 0x0); /* the missing one cannot lower it */
    expect(mixed, all, 3, 2, BAASH_TALLY_SETTLED, 0xD);
    expect(mixed, three, 3, 2, BAASH_TALLY_OPEN, 0x5); /* a vote for 3 or more would make it 3 */
    expect(mixed, two, 3, 0, BAASH_TALLY_OPEN, 0x3);
    expect(mixed, gone, 3, 0, BAASH_TALLY_FAILED, 0x3);
    expect(mixed, gone, 2, 2, BAASH_TALLY_SETTLED, 0x1);
    expect(none, three, 2, 0, BAASH_TALLY_SETTLED, 0x0); /* lost, whatever the fourth says */
    CHECK(baash_tally_count(&decided, &status, NULL, &at, mixed, unknown, &quorum, &blocks, 1, 4) == BAASH_E_VALUE &&
          at == 0);
    quorum = 0;
    CHECK(baash_tally_count(&decided, &status, NULL, &at, mixed, all, &quorum, &blocks, 1, 4) == BAASH_E_VALUE);
    return 0;
}
