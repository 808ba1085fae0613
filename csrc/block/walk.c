/* The blocks of a round, from the file to what an audit keeps of them, in one call without a step back.
 *
 * A piece of some blocks is read, hashed, held against its headers and taken before the next is read, in memory that is
 * used again: so every byte is touched while it lies in the second-level cache, and no page is new. Only what is all
 * well goes through here. What is not is left to the caller, who goes through it block by block and says why; and so is a
 * block that does not fit into the room. */
#define _POSIX_C_SOURCE 200809L
#include "../baash.h"
#include "../bytes.h"
#include "../file.h"

enum { ROW_BYTES = 128, AT_CLUSTER = 4, AT_BYTES = 44, AT_OFFSET = 112 };

/* Blocks of one cluster that lie one behind the other, as far as `most` bytes; one at least. Their bytes. */
static uint64_t cut_piece(size_t *after, const uint8_t *rows, size_t blocks, size_t first, uint64_t most) {
    const uint8_t *row = rows + ROW_BYTES * first;
    const uint64_t offset = load64(row + AT_OFFSET);
    const uint32_t cluster = load32(row + AT_CLUSTER);
    uint64_t bytes = load32(row + AT_BYTES);
    for (*after = first + 1; *after < blocks; ++*after) {
        row += ROW_BYTES;
        uint64_t more = load32(row + AT_BYTES);
        if (bytes + more > most || load32(row + AT_CLUSTER) != cluster || load64(row + AT_OFFSET) != offset + bytes) {
            break;
        }
        bytes += more;
    }
    return bytes;
}

/* Reads and hashes the piece that was cut; 0: there is something to say of it. */
static int read_piece(int *status, baash_block_walk *w, const baash_block_room *room, const baash_block_source *source,
                      uint64_t offset, uint64_t bytes, uint64_t expected, int kernel) {
    size_t at = 0, count = 0;
    uint64_t position = 0;
    int reason = 0;
    if (bytes > room->records_bytes || bytes > source->size || offset > source->size - bytes ||
        read_up_to(source->file, room->records, (size_t)bytes, source->begin + offset) != (ssize_t)bytes) {
        return 0;
    }
    *status = baash_transaction_read(room->info, room->ids, room->entities, &count, &position, &reason, &at,
                                     room->capacity, room->records, (size_t)bytes, kernel);
    w->bytes = bytes;
    w->count = count;
    return *status == BAASH_OK && !reason && count == expected;
}

int baash_block_take(baash_block_walk *w, baash_act *acts, uint64_t *pairs, uint64_t *ids8, size_t capacity,
                     const baash_block_room *room, const baash_block_source *source, const uint8_t *rows,
                     const uint64_t *bounds, size_t blocks, const uint32_t *owners, const uint64_t seeds[3],
                     int kernel) {
    w->stop = BAASH_WALK_DONE;
    for (; w->block < blocks; w->block = w->after) {
        const uint8_t *row = rows + ROW_BYTES * w->block;
        const uint64_t bytes = cut_piece(&w->after, rows, blocks, w->block, room->piece_bytes);
        const uint64_t expected = bounds[w->after] - bounds[w->block];
        int status = BAASH_OK, match = 0;
        w->stop = BAASH_WALK_UNTAKEN;
        if (!read_piece(&status, w, room, source, load64(row + AT_OFFSET), bytes, expected, kernel)) {
            return status == BAASH_E_FULL ? BAASH_OK : status;
        }
        if (w->transactions > capacity || expected > capacity - w->transactions ||
            bounds[w->block] > UINT32_MAX) {
            return BAASH_E_VALUE;
        }
        status = baash_state_take(acts + w->acts, pairs + w->transactions, ids8 + w->transactions, &w->met, room->info,
                                  room->ids, room->entities, w->count, (uint32_t)bounds[w->block], owners,
                                  load32(row + AT_CLUSTER), seeds);
        if (status == BAASH_OK) { /* uses the ids up */
            status = baash_block_match(&match, room->ids, row, w->after - w->block, room->info, w->count, bytes, kernel);
        }
        if (status != BAASH_OK || !match) {
            return status;
        }
        w->transactions += w->count;
        w->acts += w->met.acts;
        if (w->met.is_signed || w->met.refers || w->met.strangers || w->met.acts < w->count) {
            w->stop = BAASH_WALK_LOOK;
            return BAASH_OK;
        }
        w->stop = BAASH_WALK_DONE;
    }
    return BAASH_OK;
}
