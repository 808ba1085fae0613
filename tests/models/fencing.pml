/* The fencing of writers and the commit record: one writer, two successors, a reader, and power failures of the storage.
 *
 * The order of steps is that of docs/durability.md. What lies on the storage is NONE, SEEN (written, visible to all, not flushed),
 * STORED (flushed), or DOOMED (its flush failed: visible, flushed by nothing any more). When the power of the storage fails,
 * each thing that is not STORED is lost or kept, one by one. The parties may live on: whoever then flushes what is lost learns
 * of it and stops. A party that dies is one that never moves again, so every death at every step is among the runs.
 *
 * Held at every moment: the history (back from the highest view that is visible) can be read; every round in it has its body;
 * every acknowledged round is in it. So there is one history, since it is one chain. The reader reads view by view while all
 * goes on, and must find whatever had been acknowledged when it began.
 *
 * What nobody looks at before it is flushed (a body before its record, a view record before it has its name) is written and flushed
 * in one step: who loses it in between would stop at the flush, as if he had died before.
 *
 * Not modelled: the content of records, several coordinators (their parts are one body: each is flushed before the record), a
 * torn record (it counts as none). Each -D below leaves out or swaps a step; tests/models/test_fencing.py shows that each fails.
 */

#define VIEWS 4  /* 1 is the writer's; successors take 2 and 3 */
#define ROUNDS 2 /* of a view, at most */
#define AT(v, r) ((v) * ROUNDS + (r))

#define NONE 0
#define SEEN 1
#define STORED 2
#define DOOMED 3

byte owner[VIEWS]; /* of a claim: who made the file that bears the name now */
byte claim[VIEWS], view[VIEWS], text[VIEWS]; /* text: of the view record */
byte before[VIEWS], cut[VIEWS];              /* what a view record says: predecessor, and how many of its rounds count */
byte body[VIEWS * ROUNDS], slot[VIEWS * ROUNDS];
bool acknowledged[VIEWS * ROUNDS];
bool began;

/* A flush tells whoever wrote it that it is lost; it makes up for no flush that failed. */
inline flush(what) {
    atomic {
        if
        :: what == NONE -> goto stop
        :: what == SEEN -> what = STORED
        :: else
        fi
    }
}

inline newest_claim(found) {
    d_step {
        found = 1;
        if :: claim[2] || view[2] -> found = 2 :: else fi;
        if :: claim[3] || view[3] -> found = 3 :: else fi
    }
}

inline newest_view(found) {
    d_step {
        found = 1;
        if :: view[2] -> found = 2 :: else fi;
        if :: view[3] -> found = 3 :: else fi
    }
}

inline count_rounds(which, found) {
    d_step {
        found = 0;
        do
        :: found < ROUNDS && slot[AT(which, found)] -> found++
        :: else -> break
        od
    }
}

inline look_for_claims(mine, found) {
    atomic {
        newest_claim(found);
        if
        :: found != mine -> goto stop
        :: else -> found = 0
        fi
    }
}

inline commit(mine, r, found) {
#ifdef RECORD_BEFORE_BODY_FLUSHED
    body[AT(mine, r)] = SEEN;
    slot[AT(mine, r)] = SEEN;
    flush(slot[AT(mine, r)]);
    flush(body[AT(mine, r)]);
#else
    body[AT(mine, r)] = STORED;
#ifdef CLAIMS_LOOKED_FOR_BEFORE_RECORD
    look_for_claims(mine, found);
#endif
    slot[AT(mine, r)] = SEEN;
#ifdef ACKNOWLEDGED_BEFORE_FLUSH
    acknowledged[AT(mine, r)] = true;
#endif
    atomic {
        if
        :: slot[AT(mine, r)] == NONE -> goto stop
        :: slot[AT(mine, r)] == SEEN -> slot[AT(mine, r)] = STORED
        :: slot[AT(mine, r)] == SEEN -> slot[AT(mine, r)] = DOOMED; goto stop
        :: else
        fi
    }
#endif
#ifdef ACKNOWLEDGED_BEFORE_CLAIMS_LOOKED_FOR
    acknowledged[AT(mine, r)] = true;
#endif
#ifndef CLAIMS_LOOKED_FOR_BEFORE_RECORD
    look_for_claims(mine, found);
#endif
    acknowledged[AT(mine, r)] = true
}

/* Where the predecessor ends, as it is stored: flush its last record, have it forgotten, read again until nothing changes. */
inline read_cut(old, rounds, again) {
    newest_view(old);
    count_rounds(old, rounds);
#ifndef PUBLISHED_BEFORE_CUT_FLUSHED
    do
    :: rounds == 0 -> break
    :: else ->
        atomic {
            if
            :: slot[AT(old, rounds - 1)] == SEEN -> slot[AT(old, rounds - 1)] = STORED
#ifndef CUT_AS_SEEN
            :: slot[AT(old, rounds - 1)] == DOOMED -> slot[AT(old, rounds - 1)] = NONE
            :: slot[AT(old, rounds - 1)] == DOOMED -> slot[AT(old, rounds - 1)] = STORED
#endif
            :: else
            fi
        }
#ifdef CUT_AS_SEEN
        break
#else
        count_rounds(old, again);
        if
        :: again == rounds -> break
        :: else -> rounds = again
        fi
#endif
    od
#endif
}

proctype Writer() {
    byte found;
    commit(1, 0, found);
    commit(1, 1, found);
stop:
    found = 0
}

proctype Successor(bool second) {
    byte mine, old, rounds, again;
    atomic { !second || began -> began = true; second = false } /* they are alike: one of them is the first to begin */
#ifdef CUT_READ_BEFORE_CLAIM
    read_cut(old, rounds, again);
#endif
    atomic { /* exclusive creation: as if names were looked at and the next one taken in one step */
        newest_claim(mine);
        mine++;
        if
        :: mine < VIEWS && claim[mine] == NONE -> claim[mine] = SEEN; owner[mine] = _pid
        :: else -> goto stop
        fi
    }
#ifndef CLAIM_NOT_FLUSHED
    atomic {
        if
        :: owner[mine] != _pid -> goto stop /* a lost claim's number was taken by somebody else */
        :: else
        fi;
        flush(claim[mine])
    }
#endif
#ifndef CUT_READ_BEFORE_CLAIM
    read_cut(old, rounds, again);
#endif
    atomic {
        if
        :: old > mine -> goto stop /* somebody newer has published already */
        :: else
        fi;
        before[mine] = old; cut[mine] = rounds;
#ifdef VIEW_RENAMED_BEFORE_FLUSHED
        text[mine] = SEEN;
#else
        text[mine] = STORED;
#endif
#ifndef PUBLISHED_BEFORE_CUT_FLUSHED
        old = 0; rounds = 0;
#endif
        again = 0
    }
    view[mine] = SEEN;
#ifndef COMMITTED_BEFORE_VIEW_FLUSHED
    flush(view[mine]);
#endif
#ifdef PUBLISHED_BEFORE_CUT_FLUSHED
    if
    :: rounds -> flush(slot[AT(old, rounds - 1)])
    :: else
    fi;
#endif
    commit(mine, 0, again);
stop:
    mine = 0; old = 0; rounds = 0; again = 0
}

#define FAIL(what) \
    if \
    :: what == SEEN || what == DOOMED -> what = NONE \
    :: what == SEEN || what == DOOMED -> what = STORED \
    :: else \
    fi

/* The power of the storage fails. One thing after the other is drawn, in one step. */
proctype Power() {
    byte i = 1;
    atomic {
        do
        :: i < VIEWS ->
            FAIL(claim[i]);
            FAIL(view[i]);
            FAIL(text[i]);
            FAIL(body[AT(i, 0)]);
            FAIL(body[AT(i, 1)]);
            FAIL(slot[AT(i, 0)]);
            FAIL(slot[AT(i, 1)]);
            i++
        :: else -> break
        od;
        i = 0
    }
}

/* All that must hold, of the history as it is at this moment. */
proctype Always() {
    byte v, r, last;
    bool there[VIEWS * ROUNDS];
end:
    do
    :: d_step {
            newest_view(v);
            count_rounds(v, last);
            do
            :: r = 0;
                do
                :: r < last ->
                    assert(slot[AT(v, r)] != NONE); /* a round on which a later view builds */
                    assert(body[AT(v, r)] != NONE);
                    there[AT(v, r)] = true;
                    r++
                :: else -> break
                od;
                if
                :: v == 1 -> break
                :: else ->
                    assert(text[v] != NONE);
                    assert(before[v] < v);
                    last = cut[v];
                    v = before[v]
                fi
            od;
            r = 0;
            do
            :: r < VIEWS * ROUNDS ->
                assert(!acknowledged[r] || there[r]);
                there[r] = false;
                r++
            :: else -> break
            od;
            v = 0; r = 0; last = 0
        }
    od
}

/* Reads as a reader does: the list of views, then one view after the other, while all goes on. */
proctype Reader() {
    byte v, r, last;
    bool asked[VIEWS * ROUNDS], there[VIEWS * ROUNDS];
    d_step {
        do
        :: r < VIEWS * ROUNDS -> asked[r] = acknowledged[r]; r++
        :: else -> break
        od;
        r = 0
    }
    newest_view(v);
    count_rounds(v, last);
    do
    :: d_step {
            do
            :: r < last -> there[AT(v, r)] = true; r++
            :: else -> break
            od;
            r = 0
        }
        if
        :: v == 1 -> break
        :: else -> atomic { last = cut[v]; v = before[v] }
        fi
    od;
    skip; /* a break must not lead into a d_step */
    d_step {
        do
        :: r < VIEWS * ROUNDS ->
            assert(!asked[r] || there[r]);
            asked[r] = false; there[r] = false;
            r++
        :: else -> break
        od;
        v = 0; r = 0; last = 0
    }
}

init {
    atomic {
        claim[1] = STORED; view[1] = STORED; text[1] = STORED;
        run Writer();
        run Successor(false);
        run Successor(true);
        run Always();
#ifdef READER
        run Reader();
#endif
#if POWER_FAILURES > 1
        run Power();
#endif
#if POWER_FAILURES > 0
        run Power()
#endif
    }
}
