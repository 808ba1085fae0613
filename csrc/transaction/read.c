/* Records to rows and hashes in one pass over their bytes.
 *
 * A scan, then the ids, then the entities of a whole window is three passes, and a window of some megabytes is in no
 * cache that is near when the next one begins. So the three go through some hundred records at a time. */
#include "../baash.h"

/* Enough to fill the lanes of any kernel, few enough that records of a thousand bytes stay in the second-level cache. */
enum { CHUNK = 256 };

int baash_transaction_read(baash_transaction_info *info, uint8_t *ids, uint8_t *entities, size_t *count,
                           uint64_t *position, int *reason, size_t *at, size_t capacity, const uint8_t *records,
                           size_t records_bytes, int kernel) {
    for (;;) {
        size_t first = *count, room = capacity - first < CHUNK ? capacity : first + CHUNK;
        int form = baash_transaction_scan(info, count, position, reason, room, records, records_bytes);
        size_t n = *count - first;
        int status = baash_transaction_ids(ids + 32 * first, at, records, records_bytes, info + first, n, kernel);
        if (status == BAASH_OK) {
            status = baash_transaction_entities(entities + 32 * first, at, records, records_bytes, info + first, n,
                                                kernel);
        }
        if (status != BAASH_OK || form != BAASH_E_FULL || room == capacity) {
            return status != BAASH_OK ? status : form;
        }
    }
}
