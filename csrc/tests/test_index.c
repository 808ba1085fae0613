/* Index files: seals notice every bit and every misplaced page; finding agrees with going through, whatever the keys are. */
#define _POSIX_C_SOURCE 200809L
#include "test.h"

#include <unistd.h>

enum { KEYED = 12, MAX_ROWS = 3000 };

static uint64_t word(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static void put(uint8_t *p, uint64_t v, size_t bytes) { memcpy(p, &v, bytes); }

/* A file of sealed pages, from page 1 on. */
static FILE *file_of(const uint8_t *rows, size_t count, size_t width, uint64_t salt) {
    size_t per_page = 4088 / width, pages = (count + per_page - 1) / per_page;
    uint8_t *made = room((pages + 1) * BAASH_PAGE_BYTES);
    memset(made, 0, (pages + 1) * BAASH_PAGE_BYTES);
    for (size_t i = 0; i < count; i++) {
        memcpy(made + (1 + i / per_page) * BAASH_PAGE_BYTES + i % per_page * width, rows + i * width, width);
    }
    CHECK(baash_index_seal(made + BAASH_PAGE_BYTES, pages, salt, 1) == BAASH_OK);
    FILE *file = tmpfile();
    CHECK(file && fwrite(made, BAASH_PAGE_BYTES, pages + 1, file) == pages + 1 && fflush(file) == 0);
    free(made);
    return file;
}

static void test_seal(void) {
    uint8_t page[BAASH_PAGE_BYTES], other[BAASH_PAGE_BYTES];
    uint64_t seed = 1;
    for (size_t i = 0; i < sizeof page; i++) {
        page[i] = (uint8_t)draw(&seed);
    }
    CHECK(baash_index_seal(page, 1, 5, 7) == BAASH_OK);
    for (size_t bit = 0; bit < 8 * 4088; bit++) {
        memcpy(other, page, sizeof page);
        other[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(baash_index_seal(other, 1, 5, 7) == BAASH_OK && word(other + 4088) != word(page + 4088));
    }
    memcpy(other, page, sizeof page);
    memcpy(other, page + 8, 8); /* two words change places */
    memcpy(other + 8, page, 8);
    CHECK(baash_index_seal(other, 1, 5, 7) == BAASH_OK && word(other + 4088) != word(page + 4088));
    memcpy(other, page, sizeof page);
    CHECK(baash_index_seal(other, 1, 5, 8) == BAASH_OK && word(other + 4088) != word(page + 4088));
    CHECK(baash_index_seal(other, 1, 6, 7) == BAASH_OK && word(other + 4088) != word(page + 4088));
    CHECK(baash_index_seal(other, 1, 5, 7) == BAASH_OK && memcmp(other, page, sizeof page) == 0);
}

/* Keys of several kinds: even, in a corner, few and many times, doubling, all the same. */
static uint64_t key_of(int kind, size_t i, uint64_t *seed) {
    switch (kind) {
    case 0:
        return draw(seed);
    case 1:
        return draw(seed) >> 40;
    case 2:
        return (draw(seed) % 5) << 60;
    case 3:
        return UINT64_C(1) << draw(seed) % 64;
    case 4:
        return i / 7 + UINT64_MAX - 100000;
    default:
        return 42;
    }
}

static int by_key(const void *a, const void *b) {
    uint64_t x = word(a), y = word(b);
    return x < y ? -1 : x > y;
}

static void expect(const baash_index_table *table, const uint8_t *rows, uint64_t low, uint64_t high) {
    size_t width = table->row_bytes;
    uint64_t first, count, at = 0, after;
    uint8_t *row = room(width);
    baash_index_fault fault;
    while (at < table->rows && word(rows + at * width) < low) {
        at++;
    }
    for (after = at; after < table->rows && word(rows + after * width) <= high; after++) {
    }
    CHECK(baash_index_find(&first, &count, row, &fault, table, &low, &high, 1) == BAASH_OK);
    CHECK(first == at && count == after - at);
    CHECK(count == 0 || memcmp(row, rows + at * width, width) == 0);
    free(row);
}

static void test_find(void) {
    const size_t sizes[] = {0, 1, 2, 339, 340, 341, 680, MAX_ROWS};
    uint64_t seed = 2;
    for (int kind = 0; kind < 6; kind++) {
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            size_t count = sizes[s];
            uint8_t *rows = room(count * KEYED);
            for (size_t i = 0; i < count; i++) {
                put(rows + i * KEYED, key_of(kind, i, &seed), 8);
            }
            qsort(rows, count, KEYED, by_key);
            for (size_t i = 0; i < count; i++) {
                put(rows + i * KEYED + 8, i, 4);
            }
            FILE *file = file_of(rows, count, KEYED, 9);
            baash_index_table table = {fileno(file), KEYED, 1, 1, count, 9, NULL, 0, 0};
            expect(&table, rows, 0, 0);
            expect(&table, rows, 0, UINT64_MAX);
            expect(&table, rows, UINT64_MAX, UINT64_MAX);
            for (int i = 0; i < 200 && count; i++) {
                uint64_t key = word(rows + draw(&seed) % count * KEYED), far = word(rows + draw(&seed) % count * KEYED);
                expect(&table, rows, key, key);
                expect(&table, rows, key + 1, key + 1);
                expect(&table, rows, key < far ? key : far, key < far ? far : key);
                expect(&table, rows, key_of(kind, count, &seed), UINT64_MAX);
                uint64_t fences[64]; /* other ones each time, of which the last may be missing */
                table.fences = fences;
                table.fence_rows = 1 + draw(&seed) % count;
                for (table.fence_count = 0; table.fence_count < 64 && table.fence_count * table.fence_rows < count;) {
                    fences[table.fence_count] = word(rows + table.fence_count * table.fence_rows * KEYED);
                    table.fence_count++;
                }
                table.fence_count -= draw(&seed) % 2;
                expect(&table, rows, key, key);
                expect(&table, rows, key - 1, far);
                table.fence_count = 0;
            }
            baash_index_fault fault;
            uint8_t *copy = room(count * KEYED), *one = room(KEYED);
            CHECK(baash_index_rows(copy, &fault, &table, 0, count) == BAASH_OK && !memcmp(copy, rows, count * KEYED));
            for (uint64_t i = 0; i < count; i += 1 + count / 9) {
                CHECK(baash_index_take(one, &fault, &table, &i, 1) == BAASH_OK);
                CHECK(!memcmp(one, rows + i * KEYED, KEYED));
                CHECK(baash_index_rows(copy, &fault, &table, i, count - i) == BAASH_OK);
                CHECK(!memcmp(copy, rows + i * KEYED, (count - i) * KEYED));
            }
            CHECK(baash_index_rows(copy, &fault, &table, 1, count) == BAASH_E_VALUE);
            uint64_t outside = count;
            CHECK(baash_index_take(one, &fault, &table, &outside, 1) == BAASH_E_VALUE);
            free(one);
            free(copy);
            free(rows);
            CHECK(fclose(file) == 0);
        }
    }
}

static void test_find_by_two_words(void) {
    enum { WIDTH = 21, COUNT = 900 };
    uint8_t rows[COUNT * WIDTH] = {0}, row[WIDTH];
    for (uint64_t i = 0; i < COUNT; i++) { /* three rows of each of 300 keys, which share 30 first words */
        put(rows + i * WIDTH, i / 30 << 32, 8);
        put(rows + i * WIDTH + 8, i / 3, 8);
        put(rows + i * WIDTH + 16, i, 4);
    }
    FILE *file = file_of(rows, COUNT, WIDTH, 1);
    baash_index_table table = {fileno(file), WIDTH, 2, 1, COUNT, 1, NULL, 0, 0};
    baash_index_fault fault;
    uint64_t fences[COUNT / 100];
    for (uint64_t i = 0; i < COUNT / 100; i++) {
        fences[i] = word(rows + i * 100 * WIDTH);
    }
    table.fences = fences;
    table.fence_rows = 100;
    for (uint64_t i = 0; i < COUNT; i += 3) {
        table.fence_count = i % 2 ? COUNT / 100 : 0;
        uint64_t key[2] = {i / 30 << 32, i / 3}, first, count;
        CHECK(baash_index_find(&first, &count, row, &fault, &table, key, key, 1) == BAASH_OK);
        CHECK(first == i && count == 3 && !memcmp(row, rows + i * WIDTH, WIDTH));
        key[0]++;
        CHECK(baash_index_find(&first, &count, row, &fault, &table, key, key, 1) == BAASH_OK && count == 0);
    }
    table.key_words = 0;
    uint64_t key = 0, first, count;
    CHECK(baash_index_find(&first, &count, row, &fault, &table, &key, &key, 1) == BAASH_E_VALUE);
    CHECK(fclose(file) == 0);
}

static void test_faults(void) {
    enum { COUNT = 1000 };
    uint8_t rows[COUNT * KEYED] = {0}, row[KEYED];
    uint64_t first, count, key = 700;
    baash_index_fault fault;
    for (uint64_t i = 0; i < COUNT; i++) {
        put(rows + i * KEYED, i, 8);
    }
    FILE *file = file_of(rows, COUNT, KEYED, 3);
    baash_index_table table = {fileno(file), KEYED, 1, 1, COUNT, 3, NULL, 0, 0}, wrong = table;
    CHECK(baash_index_find(&first, &count, row, &fault, &table, &key, &key, 1) == BAASH_OK && first == 700);
    wrong.salt = 4;
    CHECK(baash_index_find(&first, &count, row, &fault, &wrong, &key, &key, 1) == BAASH_E_SEAL);
    wrong = table;
    wrong.first_page = 2; /* whole pages, in the wrong place */
    wrong.rows = 2 * (4088 / KEYED);
    CHECK(baash_index_find(&first, &count, row, &fault, &wrong, &key, &key, 1) == BAASH_OK);
    CHECK(ftruncate(table.file, 3 * BAASH_PAGE_BYTES + 5) == 0); /* the third page of rows is gone */
    CHECK(baash_index_find(&first, &count, row, &fault, &table, &key, &key, 1) == BAASH_E_READ);
    CHECK(fault.page == 3 && fault.error == 0);
    wrong.file = -1;
    CHECK(baash_index_rows(row, &fault, &wrong, 0, 1) == BAASH_E_READ && fault.error != 0);
    wrong.row_bytes = 0;
    CHECK(baash_index_rows(row, &fault, &wrong, 0, 1) == BAASH_E_VALUE);
    CHECK(fclose(file) == 0);
}

static void test_merge(void) {
    enum { A = 50, B = 70 };
    uint8_t a[A * KEYED], b[B * KEYED], out[(A + B) * KEYED];
    uint64_t seed = 4, last = 0;
    for (int turn = 0; turn < 100; turn++) {
        for (uint64_t i = 0; i < A + B; i++) {
            put((i < A ? a + i * KEYED : b + (i - A) * KEYED), draw(&seed) % 40, 8);
        }
        qsort(a, A, KEYED, by_key);
        qsort(b, B, KEYED, by_key);
        for (uint64_t i = 0; i < A + B; i++) {
            put((i < A ? a + i * KEYED : b + (i - A) * KEYED) + 8, i < A ? i : i - A, 4);
        }
        size_t used[2] = {0, 0}, done[2], rows = 0, capacity = 1 + (size_t)(draw(&seed) % (A + B));
        while (used[0] < A && used[1] < B) {
            size_t space = A + B - rows < capacity ? A + B - rows : capacity;
            CHECK(baash_index_merge(out + rows * KEYED, done, space, a + used[0] * KEYED, A - used[0], b + used[1] * KEYED,
                                    B - used[1], KEYED, 1, A) == BAASH_OK);
            used[0] += done[0];
            used[1] += done[1];
            rows += done[0] + done[1];
        }
        for (size_t i = 0; i < rows; i++) {
            uint64_t key = word(out + i * KEYED), number = 0;
            memcpy(&number, out + i * KEYED + 8, 4);
            CHECK(word(number < A ? a + number * KEYED : b + (number - A) * KEYED) == key);
            uint64_t both = key << 32 | number;
            CHECK(i == 0 || last < both);
            last = both;
        }
    }
    size_t done[2];
    CHECK(baash_index_merge(out, done, 1, a, A, b, B, 11, 1, 0) == BAASH_E_VALUE);
    CHECK(baash_index_merge(out, done, 1, a, A, b, B, KEYED, 0, 0) == BAASH_E_VALUE);
}

static void test_records(void) {
    enum { COUNT = 40 };
    uint8_t data[COUNT * 2000] = {0}, *out;
    uint64_t offsets[COUNT + 1], sizes[COUNT], ends[COUNT + 1], seed = 5, at = 0, sum = 0;
    for (size_t i = 0; i < COUNT; i++) {
        offsets[i] = at;
        sizes[i] = 64 + 8 * (draw(&seed) % 200);
        for (size_t j = 0; j < sizes[i]; j++) {
            data[at + j] = (uint8_t)draw(&seed);
        }
        put(data + at + 8, sizes[i], 4);
        at += sizes[i];
        sum += sizes[i];
    }
    FILE *file = tmpfile();
    CHECK(file && fwrite(data, 1, at, file) == at && fflush(file) == 0);
    for (size_t typical = 1; typical < 3000; typical += 333) {
        size_t done = 0, capacity = 64;
        int error, status;
        out = room(capacity);
        while ((status = baash_index_records(out, ends, &done, &error, capacity, fileno(file), at, offsets, COUNT,
                                             typical)) == BAASH_E_FULL) {
            uint8_t *larger = room(capacity + 4096);
            memcpy(larger, out, done ? ends[done - 1] : 0);
            free(out);
            out = larger;
            capacity += 4096;
        }
        CHECK(status == BAASH_OK && done == COUNT && ends[COUNT - 1] == sum && !memcmp(out, data, sum));
        free(out);
    }
    size_t done = 0;
    int error;
    out = room(4096);
    offsets[0] = at - 63;
    CHECK(baash_index_records(out, ends, &done, &error, 4096, fileno(file), at, offsets, 1, 512) == BAASH_E_RANGE);
    offsets[0] = offsets[COUNT - 1];
    CHECK(baash_index_records(out, ends, &done, &error, 4096, fileno(file), at - 8, offsets, 1, 512) == BAASH_E_RANGE);
    CHECK(baash_index_records(out, ends, &done, &error, 4096, fileno(file), at + 4096, offsets, 1, 64) == BAASH_OK);
    done = 0;
    CHECK(ftruncate(fileno(file), (off_t)at - 8) == 0);
    CHECK(baash_index_records(out, ends, &done, &error, 4096, fileno(file), at, offsets, 1, 64) == BAASH_E_READ);
    CHECK(done == 0 && error == 0);
    free(out);
    CHECK(fclose(file) == 0);
}

int main(void) {
    test_seal();
    test_find();
    test_find_by_two_words();
    test_faults();
    test_merge();
    test_records();
    return 0;
}
