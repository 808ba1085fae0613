/* libFuzzer's target for baash_window_check, and with replay.c a test of the corpus. Beside what the sanitizers see, the
 * verdict, the rows and the hashes must be those of the dumb second judge. */
#include "window_plain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int same_rows(const baash_transaction_info *a, const baash_transaction_info *b, uint64_t n) {
    return memcmp(a, b, sizeof *a * n) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int ready;
    if (!ready) {
        CHECK(baash_sha256_init(UINT32_MAX) == BAASH_OK);
        ready = 1;
    }
    window_input in = open_input(data, size);
    baash_window w = window_of(&in);
    size_t rows, words, most = in.records_bytes / 72;
    CHECK(baash_window_room(&rows, &words, &w) == BAASH_OK && rows <= most);
    baash_transaction_info *info = room(sizeof *info * rows), *plain_info = room(sizeof *info * most);
    uint8_t *ids = room(32 * rows), *names = room(32 * rows), *plain_ids = room(32 * most), *plain_names = room(32 * most);
    uint64_t *work = room(8 * words);
    baash_window_verdict found, plain = plain_verdict(&w, in.block_size, plain_info, plain_ids, plain_names);
    CHECK(baash_window_check(&found, info, ids, names, rows, work, words, &w, in.block_size, size, BAASH_CHOSEN) ==
          BAASH_OK);
    CHECK(found.whole == plain.whole && found.reason == plain.reason && found.bad_index == plain.bad_index);
    CHECK(found.valid_blocks == plain.valid_blocks && found.transactions == plain.transactions);
    CHECK(same_rows(info, plain_info, found.transactions));
    CHECK(memcmp(ids, plain_ids, 32 * found.transactions) == 0);
    CHECK(memcmp(names, plain_names, 32 * found.transactions) == 0);
    free(info), free(plain_info), free(ids), free(names), free(plain_ids), free(plain_names), free(work);
    close_input(&in);
    return 0;
}
