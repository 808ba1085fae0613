/* Counting votes of many windows.
 *
 * A member is MISSING (its vote may still come), has GIVEN a prefix, or has NONE to give and never will (behind, cannot,
 * dead; also the unused places of a window with fewer members than the row is wide).
 *
 * Let at_least(p) be the number of given votes with a prefix of p or more, prefixes capped at the window's block count.
 *   decided = the largest p <= block_count with at_least(p) >= quorum; 0 when fewer than `quorum` votes are given.
 * A vote that still comes can only add to at_least, so `decided` never falls; the most it can become is
 *   reachable = the largest p <= block_count with at_least(p) + missing >= quorum.
 *
 *   SETTLED  given >= quorum and reachable == decided: whatever comes, the result stays
 *   FAILED   given + missing < quorum: there will be no quorum with these members
 *   OPEN     everything else
 *
 * A member dissents when the prefix it gave is not the decided one, by the votes at hand: bit i of a window's mask. Whether
 * it lies or the others do is not for the count to say.
 *
 * For p <= block_count, at_least(p) >= q says that the q-th largest given prefix is p or more. So `decided` is the
 * quorum-th largest of the given prefixes, and `reachable` the same with each missing vote taken as block_count. */
#include "../baash.h"

/* The rank-th largest (from 1) prefix of the given votes, capped; 0 when there are fewer. Members are few: no sort. */
static uint32_t ranked(const uint32_t *prefixes, const uint8_t *present, size_t members, uint32_t cap, uint32_t rank) {
    uint32_t best = 0;
    for (size_t i = 0; i < members; i++) {
        uint32_t candidate = prefixes[i] < cap ? prefixes[i] : cap, at_least = 0;
        if (present[i] != BAASH_VOTE_GIVEN || candidate <= best) {
            continue;
        }
        for (size_t j = 0; j < members; j++) {
            at_least += present[j] == BAASH_VOTE_GIVEN && prefixes[j] >= candidate;
        }
        if (at_least >= rank) {
            best = candidate;
        }
    }
    return best;
}

static void mark_dissent(uint64_t *mask, const uint32_t *prefixes, const uint8_t *present, size_t members, uint32_t cap,
                         uint32_t decided) {
    for (size_t i = 0; i < members; i += 64) {
        uint64_t bits = 0;
        for (size_t j = i; j < members && j < i + 64; j++) {
            uint32_t prefix = prefixes[j] < cap ? prefixes[j] : cap;
            bits |= (uint64_t)(present[j] == BAASH_VOTE_GIVEN && prefix != decided) << (j - i);
        }
        mask[i / 64] = bits;
    }
}

int baash_tally_count(uint32_t *decided, uint8_t *status, uint64_t *dissent, size_t *at, const uint32_t *prefixes,
                      const uint8_t *present, const uint32_t *quorums, const uint32_t *block_counts, size_t windows,
                      size_t members) {
    for (size_t w = 0; w < windows; w++, prefixes += members, present += members) {
        uint32_t given = 0, missing = 0, quorum = quorums[w], cap = block_counts[w];
        int known = 1;
        for (size_t i = 0; i < members; i++) {
            given += present[i] == BAASH_VOTE_GIVEN;
            missing += present[i] == BAASH_VOTE_MISSING;
            known &= present[i] <= BAASH_VOTE_NONE;
        }
        if (!known || quorum == 0) {
            *at = w;
            return BAASH_E_VALUE;
        }
        decided[w] = ranked(prefixes, present, members, cap, quorum);
        if (dissent) {
            mark_dissent(dissent + w * ((members + 63) / 64), prefixes, present, members, cap, decided[w]);
        }
        if ((uint64_t)given + missing < quorum) {
            status[w] = BAASH_TALLY_FAILED;
        } else if (given < quorum) {
            status[w] = BAASH_TALLY_OPEN;
        } else {
            uint32_t reachable = missing >= quorum ? cap : ranked(prefixes, present, members, cap, quorum - missing);
            status[w] = reachable == decided[w] ? BAASH_TALLY_SETTLED : BAASH_TALLY_OPEN;
        }
    }
    return BAASH_OK;
}
