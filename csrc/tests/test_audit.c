/* What an audit replays and matches, on memory of exactly the size that it needs: the sanitizers watch every access. */
#include "test.h"

enum { ACTS = 400, ENTITIES = 60, BLOCKS = 600 };

/* Acts replayed at once do to a table what a check and an upsert of each by itself do to another. */
static void test_follow(uint64_t seed) {
    const size_t capacity = 128;
    baash_entity_table t[2];
    baash_replay replay = {.width = 64};
    baash_act *acts = room(ACTS * sizeof *acts);
    uint16_t *reasons = room(ACTS * sizeof *reasons);
    size_t done = 0;
    for (int i = 0; i < 2; i++) {
        t[i] = (baash_entity_table){room(capacity * sizeof *t->entries), capacity, NULL, 0, 0, 0, seed};
        memset(t[i].entries, 0, capacity * sizeof *t->entries);
    }
    replay.slots = room(8 * sizeof *replay.slots), replay.slot_count = 8;
    memset(replay.slots, 0, 8 * sizeof *replay.slots);
    for (size_t i = 0; i < ACTS; i++) {
        uint64_t entity = draw(&seed) % ENTITIES, any = draw(&seed) % 2;
        acts[i] = (baash_act){{entity, entity % 7}, any ? UINT64_MAX : draw(&seed) % 4, (uint32_t)i,
                              (uint8_t)(1 + draw(&seed) % 6), {0}}; /* 6 is no operation */
    }
    CHECK(baash_state_follow(reasons, &done, &t[0], acts, ACTS) == BAASH_OK && done == ACTS);
    for (size_t i = 0; i < ACTS; i++) {
        baash_transaction_info info = {.sequence = i, .expected_version = acts[i].expected_version,
                                       .operation = acts[i].operation};
        uint32_t slots[3 * 2] = {0}, first;
        uint64_t row, highest, version, last;
        uint8_t entity[32] = {0}, key[16], exists;
        uint16_t reason;
        size_t written, upserted = 0;
        baash_overlay overlay = {slots, 2, &row, &highest, &first};
        memcpy(entity, acts[i].key, 16);
        CHECK(baash_state_check(&reason, key, &version, &exists, &last, &written, &overlay, &t[1], &replay, &info,
                                entity, 1, 0) == BAASH_OK);
        CHECK(reason == reasons[i]);
        CHECK(baash_entity_upsert(&upserted, &t[1], key, &version, &exists, &last, written) == BAASH_OK);
    }
    CHECK(t[0].used == t[1].used);
    for (uint64_t entity = 0; entity < ENTITIES; entity++) {
        uint64_t key[2] = {entity, entity % 7}, versions[2], last[2];
        uint8_t exists[2];
        for (int i = 0; i < 2; i++) {
            baash_entity_lookup(&versions[i], &exists[i], &last[i], &t[i], (const uint8_t *)key, 1);
        }
        CHECK(versions[0] == versions[1] && exists[0] == exists[1]);
    }
    free(t[0].entries), free(t[1].entries), free(replay.slots), free(acts), free(reasons);
}

/* A table that is full says so before anything is done to it for that act. */
static void test_full(void) {
    baash_entity_table t = {room(4 * sizeof *t.entries), 4, NULL, 0, 0, 0, 1};
    baash_act acts[3] = {{{1, 1}, UINT64_MAX, 0, 1, {0}}, {{2, 2}, UINT64_MAX, 1, 1, {0}}, {{3, 3}, UINT64_MAX, 2, 1, {0}}};
    uint16_t reasons[3];
    size_t done = 0;
    memset(t.entries, 0, 4 * sizeof *t.entries);
    CHECK(baash_state_follow(reasons, &done, &t, acts, 3) == BAASH_E_FULL && done == 2 && t.used == 2);
    free(t.entries);
}

/* What is taken of transactions is what they say, and prints are the same however they are asked for. */
static void test_take(uint64_t seed) {
    enum { N = 50, NOTE = 5 };
    const uint64_t seeds[3] = {draw(&seed), draw(&seed), draw(&seed)};
    baash_transaction_info *info = room(N * sizeof *info);
    baash_act *acts = room(N * sizeof *acts);
    uint8_t *ids = room(N * 32), *entities = room(N * 32), *issuers = room(N * 16);
    uint64_t *pairs = room(N * 8), *ids8 = room(N * 8), *prints = room(N * 8), *sequences = room(N * 8);
    uint32_t *owners = room(4096 * sizeof *owners);
    uint64_t strangers = 0, is_signed = 0, acted = 0;
    baash_taken taken;
    memset(info, 0, N * sizeof *info);
    for (size_t i = 0; i < 4096; i++) {
        owners[i] = (uint32_t)(i % 3);
    }
    for (size_t i = 0; i < N; i++) {
        uint64_t key = draw(&seed), id = draw(&seed);
        info[i].operation = (uint8_t)(1 + draw(&seed) % 5), info[i].flags = draw(&seed) & 1;
        info[i].sequence = sequences[i] = draw(&seed) % 9, info[i].issuer[3] = (uint8_t)(draw(&seed) % 2);
        memcpy(issuers + 16 * i, info[i].issuer, 16);
        memset(entities + 32 * i, 7, 32), memcpy(entities + 32 * i, &key, 8), memcpy(ids + 32 * i, &id, 8);
        strangers += key % 4096 % 3 != 1, is_signed += info[i].flags, acted += info[i].operation != NOTE;
    }
    CHECK(baash_state_take(acts, pairs, ids8, &taken, info, ids, entities, N, 100, owners, 1, seeds) == BAASH_OK);
    CHECK(taken.acts == acted && taken.is_signed == is_signed && taken.strangers == strangers && !taken.refers);
    CHECK(baash_state_prints(prints, issuers, sequences, N, seeds) == BAASH_OK);
    for (size_t i = 0, act = 0; i < N; i++) {
        CHECK(pairs[i] == prints[i] && !memcmp(&ids8[i], ids + 32 * i, 8));
        for (size_t k = 0; k < i; k++) {
            int same = sequences[i] == sequences[k] && !memcmp(issuers + 16 * i, issuers + 16 * k, 16);
            CHECK((prints[i] == prints[k]) == same);
        }
        if (info[i].operation != NOTE) {
            CHECK(acts[act].number == 100 + i && !memcmp(acts[act].key, entities + 32 * i, 16));
            act++;
        }
    }
    CHECK(baash_state_take(acts, pairs, ids8, &taken, info, ids, entities, N, UINT32_MAX - 3, owners, 1, seeds) ==
          BAASH_E_VALUE);
    free(info), free(acts), free(ids), free(entities), free(issuers), free(pairs), free(ids8), free(prints);
    free(sequences), free(owners);
}

static void test_match(uint64_t seed) {
    size_t count = 0, at;
    uint64_t offsets[BLOCKS + 1] = {0}, sizes[BLOCKS], bytes = 0;
    uint8_t *rows = room(BLOCKS * 128), *entries = room(BLOCKS * 40), *roots = room(BLOCKS * 32);
    int match = 0;
    for (size_t i = 0; i < BLOCKS; i++) {
        count += 1 + draw(&seed) % 5, offsets[i + 1] = count;
    }
    baash_transaction_info *info = room(count * sizeof *info);
    uint8_t *ids = room(count * 32), *work = room(count * 32);
    memset(rows, 0, BLOCKS * 128);
    memset(info, 0, count * sizeof *info);
    for (size_t i = 0, block = 0; i < count; i++) {
        block += i == offsets[block + 1];
        uint32_t size = (uint32_t)(72 + 8 * (draw(&seed) % 100)), in_block;
        info[i].start = bytes, info[i].total_bytes = size, bytes += size;
        memcpy(&in_block, rows + 128 * block + 44, 4), in_block += size;
        memcpy(rows + 128 * block + 44, &in_block, 4);
        for (size_t k = 0; k < 32; k++) {
            ids[32 * i + k] = (uint8_t)draw(&seed);
        }
    }
    memcpy(work, ids, count * 32);
    CHECK(baash_merkle_roots(roots, &at, work, count, sizes, offsets, BLOCKS, BAASH_CHOSEN) == BAASH_OK);
    for (size_t i = 0; i < BLOCKS; i++) {
        uint32_t cluster = 9, in_block = (uint32_t)(offsets[i + 1] - offsets[i]);
        memcpy(rows + 128 * i + 4, &cluster, 4), memcpy(rows + 128 * i + 40, &in_block, 4);
        memcpy(entries + 40 * i, roots + 32 * i, 32), memcpy(entries + 40 * i + 32, rows + 128 * i + 40, 8);
    }
    CHECK(baash_block_contents(roots, entries, BLOCKS, 9, BAASH_CHOSEN) == BAASH_OK);
    for (size_t i = 0; i < BLOCKS; i++) {
        memcpy(rows + 128 * i + 48, roots + 32 * i, 32);
    }
    for (int round = 0; round < 200; round++) {
        static const size_t hashed[] = {4, 5, 40, 43, 44, 47, 48, 63, 79}; /* cluster, count, bytes, content digest */
        size_t place = 128 * (draw(&seed) % BLOCKS) + hashed[draw(&seed) % 9];
        uint8_t bit = (uint8_t)(round ? 1 << draw(&seed) % 8 : 0); /* at first none */
        rows[place] ^= bit;
        memcpy(work, ids, count * 32);
        CHECK(baash_block_match(&match, work, rows, BLOCKS, info, count, bytes, BAASH_CHOSEN) == BAASH_OK);
        CHECK(match == !bit);
        rows[place] ^= bit;
    }
    free(rows), free(entries), free(roots), free(info), free(ids), free(work);
}

int main(void) {
    for (uint64_t seed = 0; seed < 40; seed++) {
        test_follow(seed);
        test_take(seed);
    }
    test_full();
    for (uint64_t seed = 0; seed < 10; seed++) {
        test_match(seed);
    }
    return 0;
}
