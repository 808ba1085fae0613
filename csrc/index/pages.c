/* Reading pages of an index file by pread: a file that shrinks or a disk that fails is an answer, not a signal. */
#define _POSIX_C_SOURCE 200809L
#include "../bytes.h"
#include "index.h"

#include <errno.h>
#include <unistd.h>

enum { AT_ONCE = 16 };

static int failed(baash_index_fault *fault, uint64_t page, int error, int status) {
    fault->page = page;
    fault->error = error;
    return status;
}

int baash_index_read_pages(uint8_t *pages, baash_index_fault *fault, const baash_index_table *table, uint64_t number,
                           size_t count) {
    size_t size = count * BAASH_PAGE_BYTES, done = 0;
    while (done < size) {
        ssize_t got = pread(table->file, pages + done, size - done, (off_t)(number * BAASH_PAGE_BYTES + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return failed(fault, number + done / BAASH_PAGE_BYTES, got < 0 ? errno : 0, BAASH_E_READ);
        }
        done += (size_t)got;
    }
    for (size_t i = 0; i < count; i++) {
        const uint8_t *page = pages + i * BAASH_PAGE_BYTES;
        if (baash_index_page_seal(page, table->salt, number + i) != load64(page + PAGE_DATA)) {
            return failed(fault, number + i, 0, BAASH_E_SEAL);
        }
    }
    return BAASH_OK;
}

int baash_index_rows(uint8_t *rows, baash_index_fault *fault, const baash_index_table *table, uint64_t first,
                     uint64_t count) {
    uint8_t pages[AT_ONCE * BAASH_PAGE_BYTES];
    if (!sound_table(table) || first > table->rows || count > table->rows - first) {
        return BAASH_E_VALUE;
    }
    uint64_t per_page = rows_per_page(table), after = first + count;
    while (first < after) {
        uint64_t page = first / per_page, last = (after - 1) / per_page;
        size_t many = last - page + 1 < AT_ONCE ? (size_t)(last - page + 1) : AT_ONCE;
        int status = baash_index_read_pages(pages, fault, table, table->first_page + page, many);
        if (status != BAASH_OK) {
            return status;
        }
        for (size_t i = 0; i < many; i++) {
            uint64_t begin = first - (page + i) * per_page, end = after - (page + i) * per_page;
            size_t bytes = (size_t)((end < per_page ? end : per_page) - begin) * table->row_bytes;
            memcpy(rows, pages + i * BAASH_PAGE_BYTES + begin * table->row_bytes, bytes);
            rows += bytes;
            first = (page + i + 1) * per_page;
        }
    }
    return BAASH_OK;
}
