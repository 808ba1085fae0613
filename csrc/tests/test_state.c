/* The tables under long random work, each held against a plain array; the sanitizers watch every access. */
#include "test.h"

enum { KEYS = 200, CAPACITY = 256, WIDTH = 128, ISSUERS = 6, NUMBERS = 2000 };

static void key_of(uint8_t key[16], uint64_t number) {
    memset(key, 0, 16);
    key[0] = (uint8_t)number; /* the half that chooses no place */
    key[8] = (uint8_t)(number % 8); /* few places: long searches, gaps to close */
}

static void test_entities(void) {
    uint64_t versions[KEYS] = {0}, last[KEYS] = {0}, seed = 5, got_version, got_last;
    uint8_t exists[KEYS] = {0}, key[16], got_exists;
    baash_entity *entries = room(CAPACITY * sizeof *entries), *larger = room(2 * CAPACITY * sizeof *larger);
    size_t used = 0, expected = 0, done;
    memset(entries, 0, CAPACITY * sizeof *entries);
    for (int step = 0; step < 20000; step++) {
        uint64_t number = draw(&seed) % KEYS, version = 1 + draw(&seed) % 5, when = draw(&seed);
        uint8_t there = draw(&seed) & 1;
        key_of(key, number);
        baash_entity_lookup(&got_version, &got_exists, &got_last, entries, CAPACITY, key, 1, 99);
        CHECK(got_version == versions[number] && got_exists == exists[number] && got_last == last[number]);
        if (draw(&seed) % 3 == 0) {
            CHECK(baash_entity_remove(&used, entries, CAPACITY, key, 1, 99) == BAASH_OK);
            expected -= versions[number] != 0;
            versions[number] = 0, exists[number] = 0, last[number] = 0;
        } else {
            done = 0;
            int status = baash_entity_upsert(&done, &used, entries, CAPACITY, key, &version, &there, &when, 1, 99);
            CHECK(status == (versions[number] || expected < 179 ? BAASH_OK : BAASH_E_FULL)); /* 70 % of 256 */
            if (status == BAASH_OK) {
                expected += versions[number] == 0;
                versions[number] = version, exists[number] = there, last[number] = when;
            }
        }
        CHECK(used == expected);
    }
    memset(larger, 0, 2 * CAPACITY * sizeof *larger);
    CHECK(baash_entity_rehash(larger, 2 * CAPACITY, entries, CAPACITY, 99) == BAASH_OK);
    for (uint64_t number = 0; number < KEYS; number++) {
        key_of(key, number);
        baash_entity_lookup(&got_version, &got_exists, &got_last, larger, 2 * CAPACITY, key, 1, 99);
        CHECK(got_version == versions[number] && got_exists == exists[number] && got_last == last[number]);
    }
    free(entries), free(larger);
}

typedef struct model {
    uint8_t seen[ISSUERS][NUMBERS];
    int64_t highest[ISSUERS]; /* -1: none */
} model;

static int model_reason(const model *m, uint64_t who, int64_t number) {
    if (m->highest[who] >= 0 && m->highest[who] - number >= WIDTH) {
        return 31;
    }
    return m->seen[who][number] ? 30 : 0;
}

static void model_mark(model *m, uint64_t who, int64_t number) {
    if (model_reason(m, who, number) != 31) {
        m->seen[who][number] = 1;
        m->highest[who] = number > m->highest[who] ? number : m->highest[who];
    }
}

static void make_replay(baash_replay *r) {
    *r = (baash_replay){room(64), room(8 * sizeof *r->issuers), room(8 * WIDTH / 8), 16, 0, 8, WIDTH, 17};
    memset(r->slots, 0, 64), memset(r->bitmaps, 0, WIDTH);
}

static void free_replay(baash_replay *r) { free(r->slots), free(r->issuers), free(r->bitmaps); }

static void compare(const baash_replay *r, const model *m) {
    for (uint64_t who = 0; who < ISSUERS; who++) {
        for (uint64_t number = 0; number < NUMBERS; number++) {
            uint8_t id[16] = {(uint8_t)who};
            uint16_t reason;
            CHECK(baash_replay_check(&reason, r, id, &number, 1) == BAASH_OK);
            CHECK(reason == model_reason(m, who, (int64_t)number));
        }
    }
}

static void test_replay(void) {
    static model models[2];
    baash_replay replays[2];
    uint64_t seed = 11;
    size_t done = 0;
    for (int t = 0; t < 2; t++) {
        make_replay(&replays[t]);
        memset(&models[t], 0, sizeof models[t]);
        memset(models[t].highest, 0xff, sizeof models[t].highest);
        for (int step = 0; step < 4000; step++) {
            uint64_t who = draw(&seed) % (ISSUERS - (unsigned)t), number = draw(&seed) % (NUMBERS / 4 * (1 + who % 4));
            number = step % 2 ? number % 300 : number;
            uint8_t id[16] = {(uint8_t)who};
            done = 0;
            CHECK(baash_replay_mark(&done, &replays[t], id, &number, 1) == BAASH_OK);
            model_mark(&models[t], who, (int64_t)number);
        }
        compare(&replays[t], &models[t]);
    }
    for (uint64_t who = 0; who < ISSUERS; who++) { /* merged: the highest first, then all that is not too old */
        if (models[1].highest[who] >= 0) {
            model_mark(&models[0], who, models[1].highest[who]);
        }
        for (int64_t number = 0; number < NUMBERS; number++) {
            if (models[1].seen[who][number] && model_reason(&models[1], who, number) == 30) {
                model_mark(&models[0], who, number);
            }
        }
    }
    done = 0;
    CHECK(baash_replay_merge(&done, &replays[0], &replays[1]) == BAASH_OK);
    compare(&replays[0], &models[0]);
    free_replay(&replays[0]), free_replay(&replays[1]);
}

int main(void) {
    test_entities();
    test_replay();
    return 0;
}
