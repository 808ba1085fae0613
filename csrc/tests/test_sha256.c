/* Every kernel against the vectors and against each other; what may be chosen; bounds. */
#include "../sha256/sha256.h"
#include "test.h"

static int kernels(void) {
    baash_kernel_info info;
    int n = 0;
    while (baash_sha256_info(&info, n) == BAASH_OK) {
        n++;
    }
    return n;
}

static void test_vectors(FILE *file) {
    uint8_t message[400], expected[32], hash[32];
    size_t bytes, at, seen = 0;
    for (; next_vector(file, message, &bytes, expected); seen++) {
        for (int k = 0; k < kernels(); k++) {
            uint8_t *exact = memcpy(room(bytes), message, bytes);
            uint64_t start = 0, length = bytes;
            if (baash_sha256_usable(k)) {
                CHECK(baash_sha256_spans(hash, &at, exact, bytes, &start, &length, 1, k, 1) == BAASH_OK);
                CHECK(memcmp(hash, expected, 32) == 0);
            }
            free(exact);
        }
    }
    CHECK(seen > 30);
}

/* Random spans of an exactly sized buffer: all kernels give what one hash at a time by the portable kernel gives. */
static void test_ragged(void) {
    uint64_t seed = 1;
    for (int round = 0; round < 40; round++) {
        size_t bytes = draw(&seed) % 2000, count = draw(&seed) % (round % 4 ? 40 : 300), at;
        uint8_t *data = room(bytes), *hashes = room(32 * count), *one = room(32 * count);
        uint64_t *starts = room(8 * count), *lengths = room(8 * count);
        for (size_t i = 0; i < bytes; i++) {
            data[i] = (uint8_t)draw(&seed);
        }
        for (size_t i = 0; i < count; i++) {
            starts[i] = draw(&seed) % (bytes + 1);
            lengths[i] = draw(&seed) % (bytes - starts[i] + 1);
            CHECK(baash_sha256_spans(one + 32 * i, &at, data, bytes, starts + i, lengths + i, 1, 0, 1) == BAASH_OK);
        }
        for (int k = BAASH_CHOSEN; k < kernels(); k++) {
            if (baash_sha256_usable(k)) {
                CHECK(baash_sha256_spans(hashes, &at, data, bytes, starts, lengths, count, k, 1) == BAASH_OK);
                CHECK(memcmp(hashes, one, 32 * count) == 0);
            }
        }
        free(data), free(hashes), free(one), free(starts), free(lengths);
    }
}

/* Enough work for many shares, with one message as large as all others together, at every place where it matters. */
static void test_threads(void) {
    enum { COUNT = 20000, HUGE_AT_ENDS = 3 };
    const size_t places[HUGE_AT_ENDS] = {0, COUNT / 3, COUNT - 1};
    uint64_t seed = 2, *offsets = room(8 * (COUNT + 1)), *lengths = room(8 * COUNT);
    uint8_t *one = room(32 * COUNT), *many = room(32 * COUNT);
    for (int round = 0; round < HUGE_AT_ENDS; round++) {
        size_t at = 9;
        offsets[0] = 5;
        for (size_t i = 0; i < COUNT; i++) {
            lengths[i] = i == places[round] ? COUNT * 50 : draw(&seed) % 100;
            offsets[i + 1] = offsets[i] + lengths[i];
        }
        size_t bytes = offsets[COUNT];
        uint8_t *data = room(bytes);
        for (size_t i = 0; i < bytes; i++) {
            data[i] = (uint8_t)(i % 251);
        }
        CHECK(baash_sha256_batch(one, &at, data, bytes, offsets, COUNT, 0, 1) == BAASH_OK);
        for (int threads = 1; threads <= 4; threads++) {
            for (int k = BAASH_CHOSEN; k < kernels(); k++) {
                if (baash_sha256_usable(k)) {
                    memset(many, 0, 32 * COUNT);
                    CHECK(baash_sha256_batch(many, &at, data, bytes, offsets, COUNT, k, threads) == BAASH_OK);
                    CHECK(memcmp(one, many, 32 * COUNT) == 0);
                    memset(many, 0, 32 * COUNT);
                    CHECK(baash_sha256_spans(many, &at, data, bytes, offsets, lengths, COUNT, k, threads) == BAASH_OK);
                    CHECK(memcmp(one, many, 32 * COUNT) == 0);
                }
            }
        }
        size_t first = 0;
        while (offsets[first + 1] < bytes) {
            first++;
        }
        CHECK(baash_sha256_spans(many, &at, data, bytes - 1, offsets, lengths, COUNT, 0, 4) == BAASH_E_RANGE);
        CHECK(at == first);
        free(data);
    }
    free(offsets), free(lengths), free(one), free(many);
}

static void test_bounds(void) {
    uint8_t data[8] = {0}, out[96];
    uint64_t starts[] = {0, 8, 4}, lengths[] = {8, 0, 5}, huge[] = {0, UINT64_MAX, 2};
    uint64_t descending[] = {0, 4, 3}, beyond[] = {0, 4, 9};
    size_t at = 9;
    CHECK(baash_sha256_spans(out, &at, data, 8, starts, lengths, 3, BAASH_CHOSEN, 1) == BAASH_E_RANGE && at == 2);
    CHECK(baash_sha256_spans(out, &at, data, 8, huge, lengths, 2, BAASH_CHOSEN, 1) == BAASH_E_RANGE && at == 1);
    CHECK(baash_sha256_spans(out, &at, data, 8, starts, huge, 2, BAASH_CHOSEN, 1) == BAASH_E_RANGE && at == 1);
    CHECK(baash_sha256_batch(out, &at, data, 8, descending, 2, BAASH_CHOSEN, 1) == BAASH_E_ORDER && at == 1);
    CHECK(baash_sha256_batch(out, &at, data, 8, beyond, 2, BAASH_CHOSEN, 1) == BAASH_E_RANGE && at == 1);
    CHECK(baash_sha256_rows(out, data, 4, 2, 5, BAASH_CHOSEN) == BAASH_E_VALUE);
    CHECK(baash_sha256_spans(out, &at, data, 8, starts, lengths, 2, BAASH_CHOSEN, 0) == BAASH_E_VALUE && at == 0);
    CHECK(baash_sha256_batch(out, &at, data, 8, starts, 1, BAASH_CHOSEN, -1) == BAASH_E_VALUE && at == 0);
    CHECK(baash_sha256_spans(out, &at, data, 8, starts, lengths, 2, kernels(), 1) == BAASH_E_KERNEL);
}

/* Kernels that are wrong in ways that real ones are. */
static size_t swapped_neighbours(uint8_t *out, baash_sha256_begun *begun, const uint8_t *data, const uint64_t *starts,
                                 const uint64_t *lengths, size_t count) {
    baash_sha256_portable(out, begun, data, starts, lengths, count);
    for (size_t i = 100; i + 1 < count && i < 102; i += 2) {
        uint8_t hash[32];
        memcpy(hash, out + 32 * i, 32);
        memcpy(out + 32 * i, out + 32 * i + 32, 32);
        memcpy(out + 32 * i + 32, hash, 32);
    }
    return 0;
}

static size_t wrong_at_one_edge(uint8_t *out, baash_sha256_begun *begun, const uint8_t *data, const uint64_t *starts,
                                const uint64_t *lengths, size_t count) {
    baash_sha256_portable(out, begun, data, starts, lengths, count);
    for (size_t i = 0; i < count; i++) {
        out[32 * i] ^= lengths[i] % 64 == 56;
    }
    return 0;
}

static size_t aligned_down(uint8_t *out, baash_sha256_begun *begun, const uint8_t *data, const uint64_t *starts,
                           const uint64_t *lengths, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t start = starts[i] & ~UINT64_C(15);
        baash_sha256_portable(out + 32 * i, begun, data, &start, lengths + i, 1);
    }
    return 0;
}

/* Hands over a message that it has hashed a block of, and forgets the block. */
static size_t forgetful(uint8_t *out, baash_sha256_begun *begun, const uint8_t *data, const uint64_t *starts,
                        const uint64_t *lengths, size_t count) {
    baash_sha256_portable(out, NULL, data, starts, lengths, count);
    if (begun && count > 1 && lengths[count - 1] >= 64) {
        begun[0] = baash_sha256_begin(out, data, starts, lengths, count - 1);
        begun[0].next += 64, begun[0].left -= 64;
        return 1;
    }
    return 0;
}

static void crossed_nodes(uint8_t *const *to, const uint8_t *const *from, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint8_t message[65];
        const uint64_t start = 0, length = 65;
        message[0] = 0x01;
        memcpy(message + 1, from[i] + 32, 32);
        memcpy(message + 33, from[i], 32);
        baash_sha256_portable(to[i], NULL, message, &start, &length, 1);
    }
}

static void test_selection(void) {
    baash_sha256_finish_fn *finish = baash_sha256_finish_portable;
    CHECK(baash_sha256_selftest(baash_sha256_portable, finish, NULL));
    CHECK(!baash_sha256_selftest(swapped_neighbours, finish, NULL));
    CHECK(!baash_sha256_selftest(wrong_at_one_edge, finish, NULL));
    CHECK(!baash_sha256_selftest(aligned_down, finish, NULL));
    CHECK(!baash_sha256_selftest(forgetful, finish, NULL));
    CHECK(!baash_sha256_selftest(baash_sha256_portable, finish, crossed_nodes));
    for (uint32_t mask = 0; mask < 64; mask++) { /* every subset of what CPUs can do */
        baash_kernel_info info;
        uint32_t bits = baash_cpu_bits() & mask;
        CHECK(baash_sha256_init(mask) == BAASH_OK);
        for (int k = 0; k < kernels(); k++) {
            CHECK(baash_sha256_info(&info, k) == BAASH_OK);
            int can = (info.cpu_bits & bits) == info.cpu_bits;
            CHECK(info.state == BAASH_KERNEL_NOT_BUILT || (info.state == BAASH_KERNEL_READY) == can);
        }
        test_ragged(); /* with the kernels that are left, and the partner that they give the default */
        for (int k = 0; k < kernels(); k++) {
            CHECK(baash_sha256_info(&info, k) == BAASH_OK);
            CHECK((baash_sha256_choose(k) == BAASH_OK) == (info.state == BAASH_KERNEL_READY));
            CHECK(info.state != BAASH_KERNEL_READY || (baash_sha256_chosen() == k && baash_sha256_partner() == -1));
        }
    }
    CHECK(baash_sha256_init(UINT32_MAX) == BAASH_OK);
}

/* One line for who compares machines (make ctest-cpus). */
static void say_what_ran(void) {
    baash_kernel_info info, partner;
    CHECK(baash_sha256_init(UINT32_MAX) == BAASH_OK && baash_sha256_info(&info, baash_sha256_chosen()) == BAASH_OK);
    int few = baash_sha256_info(&partner, baash_sha256_partner()) == BAASH_OK;
    printf("chosen %s%s%s; ready", info.name, few ? "+" : "", few ? partner.name : "");
    for (int k = 0; baash_sha256_info(&info, k) == BAASH_OK; k++) {
        if (info.state == BAASH_KERNEL_READY) {
            printf(" %s", info.name);
        }
    }
    printf("; %s OpenMP\n", baash_openmp() ? "with" : "without");
}

int main(int argc, char **argv) {
    uint8_t hash[32], empty[1] = {0};
    uint64_t nothing = 0;
    size_t at;
    CHECK(baash_sha256_spans(hash, &at, empty, 0, &nothing, &nothing, 1, BAASH_CHOSEN, 1) == BAASH_OK);
    CHECK(hash[0] == 0xe3); /* the portable kernel works before init */
    test_selection();
    FILE *file = open_vectors(argc, argv, "sha256.txt");
    test_vectors(file);
    fclose(file);
    test_ragged();
    test_threads();
    test_bounds();
    say_what_ran();
    return 0;
}
