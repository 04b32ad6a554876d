/* The script: two replicas consume one log at their own speed; the first belongs to the primary,
 * which proposes ops when clients send some, and a bubble when its own replica is stalled. See
 * script.md.
 *
 * The server has two threads. A request gives thread 0 two calls to make, each of which wakes
 * thread 1 for one call. What must hold: both replicas admit each slot at the same value of the
 * clock, and with the same calls made before it (S7). */

#define REPLICAS 2
/* Entries in all, calls that one entry grants, slots that carry an op. */
#ifndef SLOTS
#define SLOTS 6
#endif
#define GRANT 3
#define OPS 3

/* The log: 0 nothing yet, 1 a bubble, 2 an op and a grant. Proposed, and committed here up to. */
byte kind[SLOTS + 1];
byte proposed, ops;
byte committed[REPLICAS];

/* Of each replica: what it has consumed, its clock, what is granted, whether the op at the head
 * has been admitted, and the calls that its two threads still make. */
byte admitted[REPLICAS], clock[REPLICAS], granted[REPLICAS], first[REPLICAS], second[REPLICAS];
/* Which thread holds the turn, and the calls made so far: a bit each, thread by thread. */
byte turn[REPLICAS];
short calls[REPLICAS];
/* By slot: one more than the clock, and the calls, at the first admission of it. */
byte clock_at[SLOTS + 1];
short calls_at[SLOTS + 1];

#define RUNNABLE(r) (first[r] || second[r])
#define STALLED(r) (RUNNABLE(r) && !granted[r])

hidden byte slot;

/* S1, S2: the entry at the head, when what was granted before it is gone. */
inline admit(r) {
    admitted[r]++;
    slot = admitted[r];
    if
    :: clock_at[slot] == 0 -> clock_at[slot] = clock[r] + 1; calls_at[slot] = calls[r]
    :: else -> assert(clock_at[slot] == clock[r] + 1 && calls_at[slot] == calls[r])
    fi;
    if
    :: kind[slot] == 2 -> first[r] = first[r] + 2
    :: else
    fi;
    granted[r] = GRANT;
#ifdef WITNESS
    assert(!(slot == SLOTS && ops == OPS && admitted[1 - r] == SLOTS));
#endif
    slot = 0
}

/* S3: a call uses one granted step. The turn goes round when a thread has nothing to do. */
inline call(r) {
    granted[r]--;
    clock[r]++;
    if
    :: turn[r] == 0 && !first[r] -> turn[r] = 1
    :: turn[r] == 1 && !second[r] -> turn[r] = 0
    :: else
    fi;
    calls[r] = calls[r] * 2 + turn[r];
    if
    :: turn[r] == 0 -> first[r]--; second[r]++; turn[r] = 1
    :: else -> second[r]--; turn[r] = 0
    fi
}

#ifdef WITHOUT_S2
/* On arrival: as soon as the entry is here. */
#define MAY_ADMIT(r) true
#else
#define MAY_ADMIT(r) (granted[r] == 0)
#endif
#ifdef WITHOUT_S3
/* The clock goes on without a grant when the script is empty. */
#define MAY_CALL(r) (granted[r] || admitted[r] == committed[r])
#else
#define MAY_CALL(r) (granted[r])
#endif
#ifdef WITHOUT_S4
#define MAY_DROP(r) (admitted[r] < committed[r])
#else
#define MAY_DROP(r) (!RUNNABLE(r))
#endif

proctype Replica(byte r) {
end_bounds:
    do
    :: d_step { committed[r] < proposed -> committed[r]++ }
    :: d_step { admitted[r] < committed[r] && MAY_ADMIT(r) -> admit(r) }
    :: d_step { RUNNABLE(r) && MAY_CALL(r) ->
        if
        :: granted[r] == 0 -> granted[r] = 1
        :: else
        fi;
        call(r) }
    /* S4: what is left of a grant is dropped when no thread is runnable. */
    :: d_step { granted[r] && MAY_DROP(r) -> granted[r] = 0 }
    od
}

#ifdef WITHOUT_S8
#define MAY_ASK true
#else
/* S8: only when the primary's replica is stalled, and nothing is on its way to it. */
#define MAY_ASK (STALLED(0) && admitted[0] == proposed)
#endif

proctype Primary() {
end_bounds:
    do
    :: d_step { ops < OPS && proposed < SLOTS -> ops++; proposed++; kind[proposed] = 2 }
    :: d_step { MAY_ASK && proposed < SLOTS ->
        /* A quiescent group proposes nothing, and there is never a second bubble on its way. */
        assert(RUNNABLE(0) && (proposed == admitted[0] || kind[proposed] != 1));
        proposed++;
        kind[proposed] = 1 }
    od
}

init {
    atomic { run Replica(0); run Replica(1); run Primary() }
}
