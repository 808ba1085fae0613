/* The list of written entities, checked without sorting anything.
 *
 * The claimed list is known to ascend. So it is the sorted set of what the records write exactly if each written entity
 * is on it and each of its rows is met. Short hashes are looked up by their first bits: a table says where the rows with
 * those bits begin, and they are about one. Names can be chosen so that they are many; then the search between them is
 * still only a binary one. */
#include "window.h"

enum { TAG_ENTITY_LIST = 7, VERSION = 1 };

/* How many first bits: rows / 2 < 2^bits <= rows, and at least one. */
static int first_bits(size_t rows) {
    int bits = 1;
    while (rows >> bits > 1) {
        bits++;
    }
    return bits;
}

/* Scratch: the list as it is hashed, where each run of first bits begins (u4), a mark for each row (u1). */
static size_t begins_words(size_t rows) { return (((size_t)1 << first_bits(rows)) + 2) / 2; }

size_t baash_window_written_words(size_t entities) {
    return 1 + entities + begins_words(entities) + (entities + 7) / 8;
}

static int digest_holds(uint64_t *message, const baash_window *w, int kernel, int *status) {
    const uint64_t start = 0, length = 8 + 8 * (uint64_t)w->entity_count;
    uint8_t digest[32];
    size_t at;
    message[0] = (uint64_t)TAG_ENTITY_LIST << 8 | (uint64_t)VERSION << 16 | (uint64_t)w->entity_count << 32;
    if (w->entity_count) {
        memcpy(message + 1, w->entities, 8 * w->entity_count);
    }
    *status = baash_sha256_spans(digest, &at, (const uint8_t *)message, length, &start, &length, 1, kernel, 1);
    return *status == BAASH_OK && memcmp(digest, w->header + AT_ENTITIES, 32) == 0;
}

static void note_begins(uint32_t *begins, const uint64_t *list, size_t rows, int bits) {
    size_t next = 0;
    for (size_t row = 0; row < rows; row++) {
        for (size_t run = (size_t)(list[row] >> (64 - bits)); next <= run; next++) {
            begins[next] = (uint32_t)row;
        }
    }
    for (; next <= (size_t)1 << bits; next++) {
        begins[next] = (uint32_t)rows;
    }
}

/* The row of `wanted`, or `rows`. */
static size_t find(const uint64_t *list, size_t rows, const uint32_t *begins, int bits, uint64_t wanted) {
    size_t run = (size_t)(wanted >> (64 - bits)), low = begins[run], end = begins[run + 1], high = end;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (list[middle] < wanted) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < end && list[low] == wanted ? low : rows;
}

int baash_window_written_holds(int *holds, uint64_t *work, const baash_window *w, const baash_transaction_info *info,
                               const uint8_t *entities, size_t count, int kernel) {
    size_t rows = w->entity_count, met = 0;
    int bits = first_bits(rows), status;
    const uint64_t *list = work + 1;
    uint32_t *begins = (uint32_t *)(work + 1 + rows);
    uint8_t *marks = (uint8_t *)(work + 1 + rows + begins_words(rows));
    *holds = digest_holds(work, w, kernel, &status);
    if (!*holds) {
        return status;
    }
    note_begins(begins, list, rows, bits);
    memset(marks, 0, rows);
    for (size_t i = 0; i < count; i++) {
        int operation = info[i].operation;
        if (operation == CREATE || operation == UPDATE || operation == RETIRE) {
            size_t row = find(list, rows, begins, bits, load64(entities + 32 * i));
            if (row == rows) {
                *holds = 0;
                return BAASH_OK;
            }
            met += !marks[row];
            marks[row] = 1;
        }
    }
    *holds = met == rows;
    return BAASH_OK;
}
