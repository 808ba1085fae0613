/* Reading records of which only the place is known, one behind the other into one buffer: a first read that most fit into,
 * and the rest of the few that are longer. */
#define _POSIX_C_SOURCE 200809L
#include "../bytes.h"
#include "../file.h"
#include "index.h"

enum { HEADER = 64, TOTAL_BYTES = 8 };

int baash_index_records(uint8_t *records, uint64_t *ends, size_t *done, int *error, size_t capacity, int file,
                        uint64_t end, const uint64_t *offsets, size_t count, size_t typical) {
    size_t used = *done ? (size_t)ends[*done - 1] : 0;
    *error = 0;
    for (; *done < count; (*done)++) {
        uint64_t offset = offsets[*done];
        if (offset > end || end - offset < HEADER) {
            return BAASH_E_RANGE;
        }
        size_t most = end - offset < typical ? (size_t)(end - offset) : typical;
        most = most < HEADER ? HEADER : most;
        if (capacity - used < most) {
            return BAASH_E_FULL;
        }
        ssize_t got = read_up_to(file, records + used, most, offset);
        if (got < HEADER) {
            *error = got < 0 ? errno : 0;
            return BAASH_E_READ;
        }
        uint32_t size = load32(records + used + TOTAL_BYTES);
        if (size < HEADER || size > end - offset) {
            return BAASH_E_RANGE;
        }
        if (size > (size_t)got) {
            if (capacity - used < size) {
                return BAASH_E_FULL;
            }
            ssize_t more = read_up_to(file, records + used + got, size - (size_t)got, offset + (uint64_t)got);
            if (more < 0 || (size_t)(got + more) < size) {
                *error = more < 0 ? errno : 0;
                return BAASH_E_READ;
            }
        }
        used += size;
        ends[*done] = used;
    }
    return BAASH_OK;
}
