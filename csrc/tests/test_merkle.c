/* Published roots; whole trees, growing trees and inclusion paths agree for all sizes up to 70. */
#include "test.h"

enum { MOST = 70, DEPTH = 7 };

static uint8_t leaves[MOST * 32];

static void whole(uint8_t root[32], size_t size) {
    uint8_t *work = memcpy(room(32 * size), leaves, 32 * size);
    uint64_t offsets[] = {0, size}, sizes[1];
    size_t at;
    CHECK(baash_merkle_roots(root, &at, work, size, sizes, offsets, 1, BAASH_CHOSEN) == BAASH_OK);
    free(work);
}

static void test_published(FILE *file) {
    uint8_t expected[32], root[32];
    size_t bytes, size = 0;
    for (; next_vector(file, leaves + 32 * size, &bytes, expected); size++) {
        whole(root, size + 1);
        CHECK(memcmp(root, expected, 32) == 0);
    }
    CHECK(size == 8);
}

static void test_growth(void) {
    for (size_t first = 0; first <= MOST; first++) {
        for (size_t last = first; last <= MOST; last += 1 + first % 3) {
            uint8_t frontier[64 * 32] = {0}, root[32], expected[32];
            uint8_t *work = room(32 * (MOST + 1));
            CHECK(baash_merkle_append(frontier, work, 0, leaves, first, BAASH_CHOSEN) == BAASH_OK);
            CHECK(baash_merkle_append(frontier, work, first, leaves + 32 * first, last - first, 0) == BAASH_OK);
            CHECK(baash_merkle_frontier(root, frontier, last, BAASH_CHOSEN) == BAASH_OK);
            whole(expected, last);
            CHECK(memcmp(root, expected, 32) == 0);
            free(work);
        }
    }
}

static void test_paths(void) {
    for (size_t size = 1; size <= MOST; size++) {
        uint8_t expected[32], root[32], path[64 * 32];
        uint8_t *all = room(size * DEPTH * 32), *all_rows = room(size);
        uint8_t *tree = memcpy(room(32 * size), leaves, 32 * size);
        CHECK(baash_merkle_paths(all, all_rows, tree, size, DEPTH, BAASH_CHOSEN) == BAASH_OK);
        CHECK(size < 3 || baash_merkle_paths(all, all_rows, tree, size, 1, BAASH_CHOSEN) == BAASH_E_VALUE);
        whole(expected, size);
        for (size_t index = 0; index < size; index++) {
            size_t rows;
            uint8_t *work = memcpy(room(32 * size), leaves, 32 * size);
            CHECK(baash_merkle_path(path, &rows, work, size, index, BAASH_CHOSEN) == BAASH_OK);
            CHECK(baash_merkle_fold(root, leaves + 32 * index, index, size, path, rows, BAASH_CHOSEN) == BAASH_OK);
            CHECK(memcmp(root, expected, 32) == 0);
            CHECK(all_rows[index] == rows && memcmp(all + 32 * DEPTH * index, path, 32 * rows) == 0);
            CHECK(baash_merkle_fold(root, leaves, index, size, path, rows + 1, BAASH_CHOSEN) == BAASH_E_VALUE);
            CHECK(!rows || baash_merkle_fold(root, leaves, index, size, path, rows - 1, 0) == BAASH_E_VALUE);
            free(work);
        }
        free(all), free(all_rows), free(tree);
    }
    CHECK(baash_merkle_fold(leaves, leaves, 3, 3, leaves, 1, BAASH_CHOSEN) == BAASH_E_RANGE);
}

int main(int argc, char **argv) {
    uint64_t seed = 7;
    CHECK(baash_sha256_init(UINT32_MAX) == BAASH_OK);
    FILE *file = open_vectors(argc, argv, "merkle.txt");
    test_published(file);
    fclose(file);
    for (size_t i = 0; i < sizeof leaves; i++) {
        leaves[i] = (uint8_t)draw(&seed);
    }
    test_growth();
    test_paths();
    return 0;
}
