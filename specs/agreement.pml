/* Agreement: three nodes, ballots 1..B, slots 1..S. See agreement.md for the rules, code.md for the
 * names; lost storage is in rejoin.pml.
 *
 * Messages are never taken away: what was said once may arrive at any time, again, or never. So the
 * network is a set of facts (`promise_*`, `put`, `start`, `vote`, `told`), and each node acts on
 * any of them. What a node says is durable (P3): a restart loses only what it does, and its commit
 * index.
 *
 * An entry is the ballot under which it was first proposed: that and its slot name one content
 * (P5). Rule X is taken out by -DWITHOUT_X. */

#ifndef B
#define B 3
#endif
#ifndef S
#define S 2
#endif
#define N 3

/* Whose ballot it is. */
#define OWNER(b) (((b) - 1) % N)
#define LOG(n, s) log[(n) * (S + 1) + (s)]
#define PUT(b, s) put[(b) * (S + 1) + (s)]
#define AT(b, n) (b) * N + (n)

/* Stable storage. Slot 0 is before the log: nothing, ballot 0. */
byte promised[N], accepted[N], last[N], log[N * (S + 1)];
/* Lost by a restart: the part (0 backup, 1 candidate, 2 primary), the commit index, and one more
 * than `matched`, 0 if no primary is followed. */
byte part[N], committed[N], matched[N];
/* Said, one more than the slot, 0 if it was not: by ballot and node. */
byte promise_end[(B + 1) * N], promise_ballot[(B + 1) * N], vote[(B + 1) * N];
/* Said by a primary: what it took over (one more), its entries, its commit index. */
byte start[B + 1], put[(B + 1) * (S + 1)], told[B + 1];
/* The chosen entries: for the checks only. */
byte chosen[S + 1];

hidden byte i, d, best_node, best_ballot, best_end, count, end, said, label;
hidden byte agrees, majority;

#define CLEAR_HIDDEN i = 0; d = 0; best_node = 0; best_ballot = 0; best_end = 0; count = 0; \
    end = 0; said = 0; label = 0; agrees = 0; majority = 0

/* P11: what is committed stays. */
inline truncate(n, to) {
    assert((to) >= committed[n]);
    i = S;
    do
    :: i > (to) -> LOG(n, i) = 0; i--
    :: else -> break
    od;
    if
    :: last[n] > (to) -> last[n] = (to)
    :: else
    fi;
    if
    :: matched[n] > (to) + 1 -> matched[n] = (to) + 1
    :: else
    fi
}

/* P4: an entry takes its place in a log without gaps, with nothing after it. */
inline place(n, s, entry) {
    assert((s) <= last[n] + 1);
    truncate(n, (s) - 1);
    LOG(n, s) = entry;
    last[n] = (s);
    if
    :: entry > accepted[n] -> accepted[n] = entry
    :: else
    fi
}

inline give_promise(n, b) {
    promised[n] = b;
    part[n] = 0;
    matched[n] = 0
}

/* Agreement: all that anybody calls committed is the same. */
inline commit(n, to) {
    do
    :: committed[n] < (to) ->
        committed[n]++;
        if
        :: chosen[committed[n]] == 0 -> chosen[committed[n]] = LOG(n, committed[n])
        :: else
        fi;
        assert(chosen[committed[n]] == LOG(n, committed[n]));
#ifdef WITNESS
        assert(!(committed[n] == S && chosen[1] == 1 && chosen[S] == 2 && start[2] == 2));
#endif
    :: else -> break
    od
}

#ifdef WITHOUT_P6
#define MAJORITY 1
#else
#define MAJORITY 2
#endif
#ifdef WITHOUT_P9
#define CHOICE 1
#else
#define CHOICE 2
#endif

/* P7: of the promises in `set`, the log accepted under the highest ballot, the longest of those. */
#ifdef WITHOUT_P7
#define IS_BETTER false
#else
#define IS_BETTER (label > best_ballot || (label == best_ballot && said - 1 > best_end))
#endif

inline weigh(n, b, set) {
    count = 0;
    best_node = n;
    best_ballot = promise_ballot[AT(b, n)];
    best_end = promise_end[AT(b, n)] - 1;
    d = 0;
    do
    :: d < N ->
        if
        :: (set) & (1 << d) ->
            said = promise_end[AT(b, d)];
            label = promise_ballot[AT(b, d)];
            if
            :: said ->
                count++;
                if
                :: IS_BETTER -> best_node = d; best_ballot = label; best_end = said - 1
                :: else
                fi
            :: else
            fi
        :: else
        fi;
        d++
    :: else -> break
    od;
    majority = (count >= MAJORITY)
}

/* Whether the donor's log is still the one that it promised with: it has promised this ballot, and
 * follows nobody. */
#define MAY_FETCH(b) (promised[best_node] == b && matched[best_node] == 0)

inline fetch(n, to) {
    d = committed[n] + 1;
    do
    :: d <= (to) ->
        if
        :: LOG(n, d) != LOG(best_node, d) -> place(n, d, LOG(best_node, d))
        :: else
        fi;
        d++
    :: else -> break
    od
}

/* P14: somebody else has had entries chosen under a higher ballot. */
#ifdef WITHOUT_P14
#define OTHERS_WENT_ON(n) false
#else
#define OTHERS_WENT_ON(n) (committed[n] > best_end || last[n] < best_end)
#endif

/* P6 to P8: a candidate with the promises of `set` completes its log and leads. */
inline elect(n, b, set) {
    weigh(n, b, set);
    if
    :: majority && best_node != n && MAY_FETCH(b) && last[best_node] >= best_end ->
        fetch(n, best_end);
        promise_ballot[AT(b, n)] = best_ballot;
        promise_end[AT(b, n)] = best_end + 1;
        weigh(n, b, set)
    :: else
    fi;
    if
    :: majority && best_node == n && OTHERS_WENT_ON(n) -> part[n] = 0
    :: majority && best_node == n && !OTHERS_WENT_ON(n) ->
        truncate(n, best_end);
        assert(last[n] == best_end);
        part[n] = 2;
        accepted[n] = b;
        start[b] = best_end + 1;
        vote[AT(b, n)] = best_end + 1;
        i = 1;
        do
        :: i <= best_end -> PUT(b, i) = LOG(n, i); i++
        :: else -> break
        od
    :: else
    fi;
    CLEAR_HIDDEN
}

/* A candidate that dies while it completes its log. */
inline fetch_partly(n, b, set) {
    weigh(n, b, set);
    if
    :: majority && best_node != n && MAY_FETCH(b) && best_end > committed[n] + 1 ->
        fetch(n, committed[n] + 1);
        part[n] = 0
    :: else
    fi;
    CLEAR_HIDDEN
}

/* A message of the primary with ballot b has come. */
inline follow(n, b) {
    if
    :: b > promised[n] -> give_promise(n, b)
    :: else
    fi;
    if
    :: matched[n] == 0 && accepted[n] == b -> matched[n] = last[n] + 1
    :: matched[n] == 0 && accepted[n] != b -> matched[n] = committed[n] + 1
    :: else
    fi;
    part[n] = 0
}

#ifdef WITHOUT_P8
#define HAS_ALL(b, n) true
#else
#define HAS_ALL(b, n) (accepted[n] == b)
#endif

/* P8: the log is accepted under b when all is here that its primary took over; only then it
 * votes. */
inline adopt_and_vote(n, b) {
    if
    :: accepted[n] < b && matched[n] >= start[b] ->
        truncate(n, matched[n] - 1);
        accepted[n] = b
    :: else
    fi;
    if
    :: HAS_ALL(b, n) && vote[AT(b, n)] < matched[n] -> vote[AT(b, n)] = matched[n]
    :: else
    fi
}

inline accept(n, b, s) {
    follow(n, b);
#ifdef WITHOUT_P4
    agrees = ((s) - 1 <= last[n]);
#else
    agrees = ((s) - 1 <= committed[n]
        || ((s) - 1 <= last[n] && LOG(n, (s) - 1) == PUT(b, (s) - 1)));
#endif
    if
    :: agrees && (s) > committed[n] ->
        if
        :: LOG(n, s) != PUT(b, s) -> place(n, s, PUT(b, s))
        :: else
        fi;
        if
        :: matched[n] < (s) + 1 -> matched[n] = (s) + 1
        :: else
        fi
    :: else
    fi;
    adopt_and_vote(n, b);
    CLEAR_HIDDEN
}

inline heartbeat(n, b) {
    follow(n, b);
    end = S;
    do
    :: end > 0 && PUT(b, end) == 0 -> end--
    :: else -> break
    od;
    if
    :: end <= last[n] && LOG(n, end) == PUT(b, end) && matched[n] < end + 1 ->
        matched[n] = end + 1
    :: else
    fi;
    adopt_and_vote(n, b);
    CLEAR_HIDDEN
}

/* P5: a ballot proposes one content for a slot. */
inline propose(n, b, content) {
    assert(PUT(b, last[n] + 1) == 0);
    place(n, last[n] + 1, content);
    PUT(b, last[n]) = content;
    vote[AT(b, n)] = last[n] + 1;
    CLEAR_HIDDEN
}

/* P9: what a majority has acknowledged under the primary's own ballot is chosen. */
inline choose(n, b) {
    end = S + 1;
    majority = false;
    do
    :: end > 0 && !majority ->
        count = 0;
        d = 0;
        do
        :: d < N ->
            if
            :: vote[AT(b, d)] >= end -> count++
            :: else
            fi;
            d++
        :: else -> break
        od;
        if
        :: count >= CHOICE -> majority = true
        :: else -> end--
        fi
    :: else -> break
    od;
    if
    :: majority && end > 1 ->
        assert(end >= start[b]);
        commit(n, end - 1);
        if
        :: told[b] < committed[n] -> told[b] = committed[n]
        :: else
        fi
    :: else
    fi;
    CLEAR_HIDDEN
}

/* P10: a backup commits what it knows to be the primary's, and chosen. */
#ifdef WITHOUT_P10
#define KNOWN(n) last[n]
#else
#define KNOWN(n) (matched[n] - 1)
#endif

inline learn_commit(n, b) {
    end = (told[b] < KNOWN(n) -> told[b] : KNOWN(n));
    commit(n, end);
    CLEAR_HIDDEN
}

/* An entry that x knows to be chosen. */
inline learn_entry(n, x) {
    end = committed[n] + 1;
    if
    :: LOG(x, end) > promised[n] -> give_promise(n, LOG(x, end))
    :: else
    fi;
    if
    :: LOG(n, end) != LOG(x, end) -> place(n, end, LOG(x, end))
    :: else
    fi;
    commit(n, end);
    if
    :: matched[n] && matched[n] < end + 1 -> matched[n] = end + 1
    :: else
    fi;
    CLEAR_HIDDEN
}

inline restart(n) {
    part[n] = 0;
    matched[n] = 0;
    committed[n] = 0;
#ifdef WITHOUT_P3
    /* What was said was not written down yet. */
    if
    :: last[n] -> truncate(n, last[n] - 1)
    :: else
    fi;
#endif
    CLEAR_HIDDEN
}

/* P1: nobody stands twice under one ballot. */
#ifdef WITHOUT_P1
#define MAY_STAND(n, b) (b >= promised[n])
#else
#define MAY_STAND(n, b) (b > promised[n])
#endif
/* P2: what a primary of a lower ballot than the promised one says does not count. */
#ifdef WITHOUT_P2
#define MAY_ACCEPT(n, b) true
#else
#define MAY_ACCEPT(n, b) (b >= promised[n])
#endif
#define STAND(b) :: d_step { \
    OWNER(b) == n && part[n] == 0 && MAY_STAND(n, b) -> \
    give_promise(n, b); part[n] = 1; \
    promise_ballot[AT(b, n)] = accepted[n]; promise_end[AT(b, n)] = last[n] + 1 }

#define PROMISE(b) :: d_step { \
    OWNER(b) != n && promise_end[AT(b, OWNER(b))] && b > promised[n] -> \
    give_promise(n, b); \
    promise_ballot[AT(b, n)] = accepted[n]; promise_end[AT(b, n)] = last[n] + 1 }

#define IS_CANDIDATE(b) (part[n] == 1 && promised[n] == b)
#define ELECT(b, set) :: d_step { \
    OWNER(b) == n && IS_CANDIDATE(b) && ((set) & (1 << n)) -> elect(n, b, set) } \
    :: d_step { \
    OWNER(b) == n && IS_CANDIDATE(b) && ((set) & (1 << n)) -> fetch_partly(n, b, set) }

#define ACCEPT(b, s) :: d_step { \
    OWNER(b) != n && PUT(b, s) && MAY_ACCEPT(n, b) -> accept(n, b, s) }

#define HEARTBEAT(b) :: d_step { \
    OWNER(b) != n && start[b] && MAY_ACCEPT(n, b) -> heartbeat(n, b) }

#define LEAD(b) \
    :: d_step { \
        OWNER(b) == n && part[n] == 2 && promised[n] == b && last[n] < S -> propose(n, b, b) } \
    :: d_step { OWNER(b) == n && part[n] == 2 && promised[n] == b -> choose(n, b) }

#define LEARN(b) :: d_step { \
    promised[n] == b && matched[n] && part[n] == 0 && told[b] > committed[n] -> \
    learn_commit(n, b) }
#define LEARN_FROM(x) :: d_step { \
    x != n && part[n] != 2 && committed[x] > committed[n] -> learn_entry(n, x) }

#if B == 2
#define BALLOTS(action) action(1) action(2)
#define BALLOTS2(action, y) action(1, y) action(2, y)
#else
#define BALLOTS(action) action(1) action(2) action(3)
#define BALLOTS2(action, y) action(1, y) action(2, y) action(3, y)
#endif

proctype Node(byte n) {
end_bounds:
    do
    BALLOTS(STAND)
    BALLOTS(PROMISE)
    BALLOTS2(ELECT, 3)
    BALLOTS2(ELECT, 5)
    BALLOTS2(ELECT, 6)
    BALLOTS2(ELECT, 7)
    BALLOTS2(ACCEPT, 1)
#if S >= 2
    BALLOTS2(ACCEPT, 2)
#endif
#if S == 3
    BALLOTS2(ACCEPT, 3)
#endif
    BALLOTS(HEARTBEAT)
    BALLOTS(LEAD)
    BALLOTS(LEARN)
    LEARN_FROM(0)
    LEARN_FROM(1)
    LEARN_FROM(2)
    :: d_step { part[n] || matched[n] || committed[n] -> restart(n) }
    od
}

init {
    atomic { run Node(0); run Node(1); run Node(2) }
}
