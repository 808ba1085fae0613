/* Rounds of three coordinators, and the change to a next view inside a job: crashes, pauses, failed writes, false suspicion.
 *
 * The steps are those of docs/protocol.md. Ranks 0, 1, 2 each host a coordinator that brings one transaction; the lowest member
 * leads. A part lies where the plan puts it: behind the parts of lower coordinators in the same proposal. So in another proposal of the
 * round the same place may be another's. A write is under way as long as it likes, even when its round is given up, or its view. Whoever
 * is stopped and wakes is one that does not move for a while: that is among the runs, as is every crash, also in the middle of a send.
 *
 * A rank that suspects another (a dead one, or FALSE_ONES times a living one) stops its nodes and joins the steward: the lowest rank it
 * does not suspect. A steward asks all, and when each has joined or is suspected, and more than half of those who are not reported dead
 * have joined, it claims, reads the cut, publishes, tells. There may be several at once. Transactions are offered again in the new view
 * but for those up to its cut; the leader brings those of ranks that are out.
 *
 * Held at every moment: the history (back from the highest published view) has each transaction once, each of its rounds holds what its
 * record says, and all that was acknowledged is in it. In the end: when nobody was suspected falsely, or with SPLIT (rank 2 is cut off,
 * lives, and is taken for dead, as it takes the others), whoever can go on is in the newest view, and all transactions are in the ledger.
 *
 * Not modelled: what fencing.pml proves (power, flushes, lost claims: here a write is durable at once and a claim counts from the moment
 * it is made), lies, messages lost or overtaken (MPI does neither; REPEATS answers come twice), validators, planned changes: a rank that
 * is fenced or left out ends. Each broken step (-D) fails: tests/models/test_rounds.py. CRASHES, FAILURES, ...: how many, at most.
 */

#ifndef VIEWS
#define VIEWS 2
#endif
#define RANKS 3
#define ALL 7
#define ROUNDS 3
#ifndef TIMES
#define TIMES 6 /* proposals of a view, at most */
#endif
#define BIT(i) (1 << (i))
#define COUNT(s) (((s) & 1) + (((s) >> 1) & 1) + (((s) >> 2) & 1))
#define AT(v, r) ((v) * ROUNDS + (r))
#define PARTS(v, t) parts[(v) * TIMES + (t)]
#define PLACE(v, r, p) place[AT(v, r) * RANKS + (p)]
#define BRINGS(v, i) brings[(v) * RANKS + (i)]
#define JOIN(s) joins[(s) * RANKS + me]
#define JOINED(i) (joins[me * RANKS + (i)] >= v)
#define GOT (JOINED(0) | JOINED(1) << 1 | JOINED(2) << 2 | BIT(me))
#define TO(i) line[me * RANKS + (i)]
#define FROM(i) line[(i) * RANKS + me]
#define BELOW(s, i) COUNT((s) & (BIT(i) - 1))
#define LOWEST(s) ((s) & 1 -> 0 : ((s) & 2 -> 1 : 2))

#ifdef PROPOSED_BEFORE_THE_FAILED_ONE_WAS_ANSWERED
#define ANSWERED true
#else
#define ANSWERED !owing
#endif
#ifdef RECORDED_BEFORE_ALL_WERE_READY
#define ALL_READY true
#else
#define ALL_READY ready == members[v]
#endif
#ifdef A_MINORITY_CLAIMS
#define NO_MINORITY true
#else
#define NO_MINORITY 2 * COUNT(GOT) > COUNT(ALL & ~((dead | ended) & suspects))
#endif

mtype = { OFFER, PROPOSE, READY, FAILED, ABORT, RECORDED };
chan line[RANKS * RANKS] = [6] of { mtype, byte, byte }; /* in order, between two ranks: kind, view, time of a proposal */

/* the ledger */
byte claims = 1; /* the highest number claimed */
bool published[VIEWS + 1];
byte members[VIEWS + 1], before[VIEWS + 1], cut[VIEWS + 1], held[VIEWS + 1]; /* held: transactions up to its cut */
byte place[(VIEWS + 1) * ROUNDS * RANKS]; /* whose part lies there, + 1 */
byte head[(VIEWS + 1) * ROUNDS];          /* what only the leader writes: of which proposal, + 1 */
byte slot[(VIEWS + 1) * ROUNDS];          /* the commit record: of which proposal, + 1 */

/* what was said */
byte brings[(VIEWS + 1) * RANKS]; /* the transactions that each coordinator brings */
byte parts[(VIEWS + 1) * TIMES];  /* whose parts a proposal holds */
bool told[VIEWS + 1];
byte joins[RANKS * RANKS]; /* at a steward: who joined, leaving which view; 0: has not */
byte asks[RANKS];          /* a steward asks all to join, leaving which view */
byte acknowledged;

byte dead, ended;   /* ended: fenced, or left out of a view */
byte acting[RANKS]; /* the view in which each acts, 0: none */
byte crashes, failures, repeats, false_ones;

/* All that must hold of the history. */
hidden byte cv, cr, cl, cp, cj, cs;
inline check() {
    d_step {
        newest_view(cv);
        count_rounds(cv, cl);
        cs = 0;
        do
        :: cr = 0;
            do
            :: cr < cl ->
                cp = PARTS(cv, slot[AT(cv, cr)] - 1);
                assert(head[AT(cv, cr)] == slot[AT(cv, cr)]);
                cj = 0;
                do
                :: cj < RANKS ->
                    if
                    :: cp & BIT(cj) ->
                        assert(PLACE(cv, cr, BELOW(cp, cj)) == cj + 1);
                        assert(!(cs & BRINGS(cv, cj))); /* decided once */
                        cs = cs | BRINGS(cv, cj)
                    :: else
                    fi;
                    cj++
                :: else -> break
                od;
                cr++
            :: else -> break
            od;
            if
            :: cv == 1 -> break
            :: else -> assert(before[cv] < cv); cl = cut[cv]; cv = before[cv]
            fi
        od;
        assert(!(acknowledged & ~cs));
        cv = 0; cr = 0; cl = 0; cp = 0; cj = 0; cs = 0
    }
}

inline newest_view(found) {
    found = VIEWS;
    do
    :: published[found] -> break
    :: else -> found--
    od
}

inline count_rounds(which, found) {
    found = 0;
    do
    :: found < ROUNDS && slot[AT(which, found)] -> found++
    :: else -> break
    od
}

inline add_round(which, r, sum) {
    j = 0;
    do
    :: j < RANKS ->
        if
        :: PARTS(which, slot[AT(which, r)] - 1) & BIT(j) -> sum = sum | BRINGS(which, j)
        :: else
        fi;
        j++
    :: else -> j = 0; break
    od
}

/* To all of these; a sender may die in the middle of it. */
inline tell(whom, kind, t) {
    i = 0;
    do
    :: i < RANKS ->
        if
        :: (whom) & BIT(i) & ~dead & ~ended ->
            if
            :: crashes < CRASHES && i == RANKS - 1 -> crashes++; goto dies
            :: assert(nfull(TO(i))); TO(i)!kind, v, t
            fi
        :: else
        fi;
        i++
    :: else -> i = 0; break
    od
}

inline say(kind, t) {
    if
    :: (dead | ended) & BIT(leader)
    :: else -> assert(nfull(TO(leader))); TO(leader)!kind, v, t
    fi
}

inline answer(kind) {
    say(kind, time);
    if
    :: true
    :: repeats < REPEATS -> repeats++; say(kind, time)
    fi
}

/* -- a rank's share in a view -- */

inline forget() {
    stopped = true; acting[me] = 0;
    current = false; written = false; recorded = false; looked = false; mine = false;
    offers = 0; ready = 0; owing = 0; time = 0; round = 0
}

inline leave() {
    forget();
    asks[me] = 0; suspects = 0; number = 0; old = 0; rounds = 0; have = 0; v = 0; leader = 0
}

inline enter(which) {
    forget();
    v = which; acting[me] = v; leader = LOWEST(members[v]);
    stopped = false; asks[me] = 0; number = 0; old = 0; rounds = 0; have = 0;
    suspects = ALL & ~members[v];
    mine = BRINGS(v, me) != 0;
    if
    :: mine && leader == me -> offers = BIT(me)
    :: mine && leader != me -> say(OFFER, 0)
    :: else
    fi
}

inline stop() {
#ifdef JOINED_GOES_ON_IN_THE_OLD_VIEW
    stopped = true
#else
    forget()
#endif
}

inline write_part() {
    if
    :: PARTS(at_view, at_time - 1) & BIT(me) ->
        PLACE(at_view, at_round, BELOW(PARTS(at_view, at_time - 1), me)) = me + 1
    :: else
    fi;
    if
    :: LOWEST(members[at_view]) == me -> head[AT(at_view, at_round)] = at_time
    :: else
    fi;
    check()
}

inline write_record() {
    slot[AT(at_view, at_round)] = at_time;
    check()
}

inline written_off() { at_view = 0; at_round = 0; at_time = 0; records = false }

/* A part is written, or not, of a round that was given up meanwhile: the leader may use its place again. */
inline given_up() {
    if
    :: !stopped && v == at_view && leader != me -> say(FAILED, at_time)
    :: else
    fi
}

/* The round fails whole: the leader says so, and has its own part again. */
inline fail_round() {
    current = false; written = false; ready = 0;
    if :: mine -> offers = offers | BIT(me) :: else fi;
    tell(members[v] & ~BIT(me), ABORT, time)
}

inline lead(s) {
    if
    :: kind == OFFER -> offers = offers | BIT(s)
#ifdef READY_OF_ANOTHER_PROPOSAL_COUNTS
    :: kind == READY && current -> owing = owing & ~BIT(s); ready = ready | BIT(s)
#else
    :: kind == READY && current && t == time -> owing = owing & ~BIT(s); ready = ready | BIT(s)
#endif
    :: kind == FAILED && current && t == time && !(records && at_view == v) && !recorded ->
        owing = owing & ~BIT(s);
        fail_round()
    :: (kind == READY || kind == FAILED) && !current && t == time -> owing = owing & ~BIT(s)
    :: else
    fi
}

inline follow() {
    if
    :: kind == PROPOSE ->
        time = t;
        if
        :: PARTS(v, t - 1) & BIT(me) && !mine -> answer(FAILED) /* not what I offer: it is committed already */
        :: else -> current = true; at_view = v; at_round = round; at_time = t
#ifdef READY_BEFORE_WRITTEN
            ;
            say(READY, time)
#endif
        fi
    :: kind == ABORT ->
        current = false; written = false;
        if :: mine -> say(OFFER, 0) :: else fi
    :: kind == RECORDED ->
        assert(current && t == time);
        if :: PARTS(v, t - 1) & BIT(me) -> mine = false :: else fi;
        round++; current = false; written = false
    fi
}

/* A message of my view; older ones are dropped, newer ones wait until I am told of their view. */
#define RECEIVE(s) \
    :: atomic { v && s != me && FROM(s)?[kind, eval(v), t] && (!at_view || leader == me || FROM(s)?[ABORT, eval(v), t]) -> \
            FROM(s)?kind, eval(v), t; \
            if \
            :: stopped \
            :: !stopped && leader == me -> lead(s) \
            :: else -> follow() \
            fi; \
            kind = 0; t = 0 \
        } \
    :: atomic { s != me && (v > 1 && FROM(s)?[kind, 1, t] || v > 2 && FROM(s)?[kind, 2, t] || v > 3 && FROM(s)?[kind, 3, t]) -> \
            FROM(s)?_, _, _ \
        }

/* -- the change of view -- */

#ifdef SPLIT
#define ACROSS(i, k) (v == 1 && (i == 2) != (k == 2)) /* it is over when there is a new view */
#else
#define ACROSS(i, k) false
#endif

inline suspect(s) {
    if
    :: (dead | ended) & BIT(s) || ACROSS(me, s)
    :: else -> false_ones++
    fi;
    suspects = suspects | BIT(s);
    if :: !stopped -> stop() :: else fi;
    i = LOWEST(ALL & ~suspects);
    if :: i != me && !ACROSS(me, i) -> JOIN(i) = v :: else fi;
    i = 0
}

#define WATCH(s) \
    :: atomic { v && s != me && !number && !(suspects & BIT(s)) && \
            ((dead | ended) & BIT(s) || false_ones < FALSE_ONES || ACROSS(me, s)) -> suspect(s) } \
    :: atomic { v && s != me && !stopped && asks[s] >= v && !(suspects & BIT(s)) && !ACROSS(me, s) -> stop(); JOIN(s) = asks[s] }

#define HEAR(w) \
    :: atomic { v && w > v && number < w && told[w] -> \
            if \
            :: members[w] & BIT(me) -> enter(w) \
            :: else -> ended = ended | BIT(me); leave() \
            fi \
        }

/* Predecessor and cut, and what the history holds up to there. */
inline read_cut() {
    newest_view(old);
    count_rounds(old, rounds);
    have = held[old];
    i = 0;
    do
    :: i < rounds -> add_round(old, i, have); i++
    :: else -> i = 0; break
    od
}

inline publish() {
    published[number] = true;
    members[number] = GOT;
    before[number] = old; cut[number] = rounds; held[number] = have;
#ifdef WHAT_THE_LEDGER_HOLDS_IS_COMMITTED_AGAIN
    have = 0;
#endif
    i = 0;
    do
    :: i < RANKS ->
        if
        :: members[number] & BIT(i) -> BRINGS(number, i) = BIT(i) & ~have
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = LOWEST(members[number]); /* brings the transactions of those who are out */
    BRINGS(number, i) = BRINGS(number, i) | (ALL & ~members[number] & ~have);
    i = 0;
    check()
}

proctype Rank(byte me) {
    byte v, leader, suspects, i, j;
    bool stopped;
    byte round, time, offers, ready, owing; /* time: of the newest proposal; offers, ready, owing: the leader's */
    bool mine, current, written, recorded, looked; /* mine: what I bring is not committed yet */
    byte at_view, at_round, at_time; /* a write under way; at_view 0: none */
    bool records;                    /* it is that of the commit record */
    byte number, old, rounds, have;  /* a steward's: what it claimed, and the cut */
    mtype kind;
    byte t;

    atomic { enter(1) }
end:
    do
    /* a write ends, whatever I have become meanwhile */
    :: atomic { at_view && !records ->
            write_part();
            if
            :: current && v == at_view && time == at_time ->
                written = true;
                if
                :: leader == me -> ready = ready | BIT(me)
                :: else -> answer(READY)
                fi
            :: else -> given_up()
            fi;
            written_off()
        }
    :: atomic { at_view && !records && failures < FAILURES ->
            failures++;
            if
            :: write_part() /* an error, and yet it is there */
            :: true
            fi;
            if
            :: current && v == at_view && time == at_time ->
                written_off();
                if
                :: leader == me -> fail_round()
                :: else -> current = false; answer(FAILED)
                fi
            :: else -> given_up(); written_off()
            fi
        }
    :: atomic { at_view && records ->
            write_record();
            if :: current && v == at_view -> recorded = true :: else fi;
            written_off()
        }
    :: atomic { at_view && records && failures < FAILURES -> /* nobody knows whether it is durable: the rank ends */
            failures++;
            if
            :: write_record()
            :: true
            fi;
#ifdef ABORTED_AFTER_THE_RECORD
            written_off();
            if :: current -> fail_round() :: else fi
#else
            goto dies
#endif
        }

    /* rounds: the leader */
    :: atomic { v && !stopped && leader == me && !current && !at_view && offers && ANSWERED ->
            time++;
            assert(time <= TIMES && round < ROUNDS);
            PARTS(v, time - 1) = offers;
            offers = 0; ready = 0; current = true;
            owing = members[v] & ~BIT(me);
            at_view = v; at_round = round; at_time = time;
            tell(members[v] & ~BIT(me), PROPOSE, time)
        }
    :: atomic { current && leader == me && written && !recorded && !at_view && ALL_READY ->
            at_view = v; at_round = round; at_time = time; records = true
        }
    :: atomic { recorded && !looked ->
            if
#ifdef JOINED_GOES_ON_IN_THE_OLD_VIEW
            :: stopped -> looked = true /* the claim is that of the steward I joined */
#endif
            :: !stopped && claims != v -> ended = ended | BIT(me); leave()
            :: !stopped && claims == v -> looked = true
            fi
        }
    :: atomic { looked ->
            add_round(v, round, acknowledged);
            check();
            if :: PARTS(v, time - 1) & BIT(me) -> mine = false :: else fi;
            round++; current = false; written = false; recorded = false; looked = false; ready = 0;
            tell(members[v] & ~BIT(me), RECORDED, time)
        }
    RECEIVE(0)
    RECEIVE(1)
    RECEIVE(2)

    /* the change of view */
    WATCH(0)
    WATCH(1)
    WATCH(2)
    :: atomic { v && !number && !asks[me] && (GOT != BIT(me) || stopped && LOWEST(ALL & ~suspects) == me) ->
            asks[me] = v;
            if :: !stopped -> stop() :: else fi
#ifdef CUT_READ_BEFORE_THE_CLAIM
            ;
            read_cut()
#endif
        }
    :: atomic { asks[me] && !number && (GOT | suspects) == ALL && claims < VIEWS && NO_MINORITY ->
            claims++;
            number = claims
        }
    :: atomic { number && !old -> read_cut() }
    :: atomic { number && old && !published[number] ->
            if
            :: old > number && members[old] & BIT(me) -> t = old; enter(t); t = 0 /* passed over by a view that lists me */
            :: old > number && !(members[old] & BIT(me)) -> ended = ended | BIT(me); leave()
            :: else -> publish()
            fi
        }
    :: atomic { number && published[number] -> told[number] = true; enter(number) }
    HEAR(2)
#if VIEWS > 2
    HEAR(3)
#endif
#if VIEWS > 3
    HEAR(4)
#endif
    :: atomic { v && crashes < CRASHES -> crashes++; goto dies }
    od;
dies:
    atomic {
        dead = dead | BIT(me);
        leave(); stopped = false; written_off(); kind = 0; t = 0; i = 0; j = 0
    }
}

#define SEEN_THROUGH(w, i) (acting[i] == w || (dead & BIT(i)))

/* Nothing moves any more. */
proctype End() {
    byte w;
    timeout;
    newest_view(w);
#ifdef SPLIT
    assert((acknowledged | held[w]) == ALL && acting[0] == w && acting[1] == w)
#else
#if FALSE_ONES == 0
    assert((acknowledged | held[w]) == ALL || dead == ALL);
    assert(SEEN_THROUGH(w, 0) && SEEN_THROUGH(w, 1) && SEEN_THROUGH(w, 2))
#endif
#endif
}

init {
    atomic {
        published[1] = true; members[1] = ALL;
        BRINGS(1, 0) = 1; BRINGS(1, 1) = 2; BRINGS(1, 2) = 4;
        run Rank(0);
        run Rank(1);
        run Rank(2);
        run End()
    }
}
