/* The tables under long random work, each held against a plain array; the sanitizers watch every access. */
#include "test.h"

enum { KEYS = 900, FIRST_CAPACITY = 256, WIDTH = 128, ISSUERS = 6, NUMBERS = 2000 };

static void key_of(uint8_t key[16], uint64_t number, uint64_t places) {
    memset(key, 0, 16);
    key[0] = (uint8_t)number; /* the half that chooses no place */
    key[1] = (uint8_t)(number >> 8);
    key[8] = (uint8_t)(number % places); /* few places: long searches, gaps to close, some that come around */
}

static void make_table(baash_entity_table *t, size_t capacity, uint64_t seed) {
    *t = (baash_entity_table){room(capacity * sizeof *t->entries), capacity, NULL, 0, 0, 0, seed};
    memset(t->entries, 0, capacity * sizeof *t->entries);
}

static void grow_table(baash_entity_table *t) {
    size_t capacity = 2 * t->capacity;
    baash_entity *entries = room(capacity * sizeof *entries);
    memset(entries, 0, capacity * sizeof *entries);
    CHECK(baash_entity_grow(t, entries, capacity / 2) == BAASH_E_VALUE);
    CHECK(baash_entity_grow(t, entries, capacity) == BAASH_OK);
    CHECK(baash_entity_grow(t, entries, capacity) == BAASH_E_VALUE);
}

typedef struct mirror {
    uint64_t versions[KEYS], last[KEYS];
    uint8_t exists[KEYS];
    size_t used;
} mirror;

static void expect_entity(const baash_entity_table *t, const mirror *m, uint64_t number, uint64_t places) {
    uint8_t key[16], exists;
    uint64_t version, last;
    key_of(key, number, places);
    CHECK(baash_entity_lookup(&version, &exists, &last, t, key, 1) == BAASH_OK);
    CHECK(version == m->versions[number] && exists == m->exists[number] && last == m->last[number]);
}

/* Where the next item ends its moves: sixteen places on and from there behind the first empty one. */
static size_t next_stop(const baash_entity_table *t) {
    size_t slot = t->moved + 16 < t->old_capacity ? t->moved + 16 : t->old_capacity;
    while (t->old && t->old[slot & (t->old_capacity - 1)].word) {
        slot++;
    }
    return slot + 1;
}

/* Sets one key, growing when need be; what was `old` is freed as soon as it may be. */
static void set_entity(baash_entity_table *t, mirror *m, uint64_t number, uint64_t places, uint64_t *seed) {
    uint64_t version = draw(seed) % 5, when = draw(seed);
    uint8_t key[16], there = version ? draw(seed) & 1 : 1;
    size_t done = 0;
    baash_entity *old = t->old;
    size_t old_capacity = t->old_capacity, reached = next_stop(t);
    int known = m->versions[number] || m->exists[number], full = !known && m->used >= t->capacity * 7 / 10;
    key_of(key, number, places);
    int status = baash_entity_upsert(&done, t, key, &version, &there, &when, 1);
    CHECK(status == (full ? BAASH_E_FULL : BAASH_OK) && done == !full);
    if (full) {
        CHECK(!t->old); /* all was moved long before */
        grow_table(t);
        CHECK(baash_entity_upsert(&done, t, key, &version, &there, &when, 1) == BAASH_OK && done == 1);
    } else if (old) {
        CHECK(t->old ? t->moved == reached : reached > old_capacity);
        if (!t->old) {
            for (size_t i = 0; i < old_capacity; i++) {
                CHECK(!old[i].word);
            }
            free(old);
        }
    }
    m->used += !known;
    m->versions[number] = version, m->exists[number] = there, m->last[number] = when;
}

static void test_entities(uint64_t seed, uint64_t places) {
    static mirror m;
    baash_entity_table t;
    uint8_t key[16];
    int growing = 0;
    memset(&m, 0, sizeof m);
    make_table(&t, FIRST_CAPACITY, draw(&seed));
    for (uint64_t step = 0; step < 4000; step++) {
        uint64_t number = draw(&seed) % (step < 300 ? 200 : KEYS); /* first only what fills the first array */
        if (draw(&seed) % 4 == 0) {
            key_of(key, number, places);
            CHECK(baash_entity_remove(&t, key, 1) == BAASH_OK);
            m.used -= m.versions[number] || m.exists[number];
            m.versions[number] = 0, m.exists[number] = 0, m.last[number] = 0;
        } else {
            set_entity(&t, &m, number, places, &seed);
        }
        CHECK(t.used == m.used);
        expect_entity(&t, &m, draw(&seed) % KEYS, places);
        if (t.old || step % 100 == 0) {
            growing += t.old != NULL;
            for (uint64_t n = 0; n < KEYS; n++) {
                expect_entity(&t, &m, n, places);
            }
        }
    }
    CHECK(growing >= (places < 100 ? 1 : 10) && t.capacity > FIRST_CAPACITY);
    free(t.entries), free(t.old);
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
    enum { ROWS = 8, PIECE = 2 };
    uint64_t **pieces = room(ROWS / PIECE * sizeof *pieces);
    for (int i = 0; i < ROWS / PIECE; i++) {
        pieces[i] = room(PIECE * WIDTH / 8);
        memset(pieces[i], 0, PIECE * WIDTH / 8);
    }
    *r = (baash_replay){room(64), room(ROWS * sizeof *r->issuers), pieces, 16, 0, ROWS, WIDTH, 17, 1};
    memset(r->slots, 0, 64), memset(r->issuers, 0, ROWS * sizeof *r->issuers);
}

static void free_replay(baash_replay *r) {
    for (int i = 0; i < 4; i++) {
        free(r->bitmaps[i]);
    }
    free(r->slots), free(r->issuers), free((void *)(uintptr_t)r->bitmaps);
}

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

enum { WINDOW = 12, STEPS = 3 * (WIDTH / 64 + 3) };

/* One window, put into `t` and `r`: entities and numbers at random, one in four not valid. Notes are given room for
 * a few steps at a time. */
static void apply_window(baash_undo *undo, baash_entity_table *t, baash_replay *r, uint64_t seed) {
    uint8_t keys[WINDOW * 16], exists[WINDOW];
    uint64_t versions[WINDOW], last[WINDOW];
    uint16_t reasons[WINDOW];
    baash_transaction_info info[WINDOW];
    size_t done = 0;
    int status;
    memset(info, 0, sizeof info);
    for (size_t i = 0; i < WINDOW; i++) {
        key_of(keys + 16 * i, draw(&seed) % 100, 100);
        exists[i] = draw(&seed) & 1, versions[i] = 1 + draw(&seed) % 9, last[i] = draw(&seed);
        reasons[i] = draw(&seed) % 4 ? 0 : 30;
        info[i].issuer[0] = (uint8_t)(draw(&seed) % 8);
        info[i].sequence = draw(&seed) % (draw(&seed) % 2 ? 64 : 600);
    }
    *undo = (baash_undo){room(sizeof keys * 2), room(STEPS / 3 * sizeof *undo->steps), 0, WINDOW, 0, STEPS / 3};
    for (;;) {
        status = baash_state_apply(&done, undo, t, r, keys, versions, exists, last, WINDOW, reasons, info, WINDOW);
        if (status != BAASH_E_FULL) {
            break;
        }
        CHECK(done >= WINDOW); /* the entities had room */
        undo->step_capacity += STEPS;
        undo->steps = realloc(undo->steps, undo->step_capacity * sizeof *undo->steps);
        CHECK(undo->steps);
    }
    CHECK(status == BAASH_OK && done == 2 * WINDOW);
}

static void drop(baash_undo *undo) { free(undo->entities), free(undo->steps); }

/* Two pairs of tables: one is given all windows and has to take half of them back, the other only those that stay. */
static void test_undo(uint64_t seed) {
    baash_entity_table t[2];
    baash_replay r[2];
    baash_undo kept, lost[3];
    baash_entity *memory[2];
    for (int i = 0; i < 2; i++) {
        make_table(&t[i], 512, seed), make_replay(&r[i]);
        memory[i] = t[i].entries;
    }
    for (int round = 0; round < 20; round++) {
        uint64_t depth = draw(&seed) % 4, stays = draw(&seed);
        for (uint64_t i = 0; i < depth; i++) {
            apply_window(&lost[i], &t[0], &r[0], draw(&seed));
        }
        for (uint64_t i = depth; i-- > 0;) {
            CHECK(baash_state_undo(&lost[i], &t[0], &r[0]) == BAASH_OK && lost[i].step_count == 0);
            CHECK(baash_state_undo(&lost[i], &t[0], &r[0]) == BAASH_OK); /* once more: nothing */
            drop(&lost[i]);
        }
        for (int i = 0; i < 2; i++) {
            apply_window(&kept, &t[i], &r[i], stays);
            drop(&kept);
        }
        CHECK(t[0].used == t[1].used && r[0].rows == r[1].rows);
        CHECK(!memcmp(r[0].issuers, r[1].issuers, r[0].rows * sizeof *r[0].issuers));
        for (int i = 0; i < 4; i++) { /* rows not used too */
            CHECK(!memcmp(r[0].bitmaps[i], r[1].bitmaps[i], 2 * WIDTH / 8));
        }
        CHECK(!memcmp(r[0].slots, r[1].slots, 64));
        for (uint64_t number = 0; number < 100; number++) {
            uint8_t key[16], exists[2];
            uint64_t versions[2], last[2];
            key_of(key, number, 100);
            for (int i = 0; i < 2; i++) {
                baash_entity_lookup(&versions[i], &exists[i], &last[i], &t[i], key, 1);
            }
            CHECK(versions[0] == versions[1] && exists[0] == exists[1] && last[0] == last[1]);
        }
    }
    for (int i = 0; i < 2; i++) {
        CHECK(t[i].entries == memory[i]);
        free(t[i].entries), free_replay(&r[i]);
    }
}

int main(void) {
    for (uint64_t seed = 0; seed < 30; seed++) {
        test_entities(seed, seed % 2 ? 30 : 200);
        test_undo(seed);
    }
    test_replay();
    return 0;
}
