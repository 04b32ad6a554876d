/* The entry rule: one connection's ops on their way from the entry replica through a primary into
 * the log, and their admission. See entry.md.
 *
 * Ops are numbered from 0; number i covers byte i of the connection (the connect before the
 * first one, and the end behind the last, are recognised in the same way, by number and total).
 * A change of primary loses any of the ops that it was handed and has not got committed. What
 * must hold: ops are admitted once, in their order, without a gap; and when the entry replica
 * keeps nothing any more, all are admitted. */

#define OPS 3
#define CHANGES 2
/* At most one commitment more for each op and change. */
#define SLOTS (OPS * (CHANGES + 1))

/* The entry replica: the first op that is kept, the next to hand over, and which are seen
 * committed. */
byte first, handed;
bool done[OPS];
/* Handed to the primary and not committed: one more than the op. */
byte flight[SLOTS], flying, changes;
/* The script: one more than the op; what the entry replica has seen of it, and what was
 * admitted. */
byte script[SLOTS], committed, seen, admitted;
/* The admitted ops: how many. Equal to the number of the next one. */
byte received;

hidden byte i, j, op;
#define CLEAR_HIDDEN i = 0; j = 0; op = 0

inline hand_over() {
    if
    :: !done[handed] -> assert(flying < SLOTS); flight[flying] = handed + 1; flying++
    :: else
    fi;
    handed++;
#ifdef WITHOUT_E4
    /* What is handed over is not kept. */
    first = handed;
#endif
}

inline commit_one() {
    script[committed] = flight[0];
    committed++;
    i = 0;
    do
    :: i + 1 < flying -> flight[i] = flight[i + 1]; i++
    :: else -> break
    od;
    flying--;
    flight[flying] = 0;
    CLEAR_HIDDEN
}

/* E5: a committed op frees the first that is kept, or none: behind a lost one it did not count. */
inline see() {
    op = script[seen] - 1;
    seen++;
    i = first;
    do
    :: i < OPS && done[i] -> i++
    :: else -> break
    od;
#ifdef WITHOUT_E5
    if
    :: op >= first -> done[op] = true
    :: else
    fi;
#else
    if
    :: i < OPS && i == op -> done[op] = true
    :: else
    fi;
#endif
    do
    :: first < OPS && done[first] -> first++
    :: else -> break
    od;
    if
    :: handed < first -> handed = first
    :: else
    fi;
    CLEAR_HIDDEN
}

/* E2: what the script already held is skipped. E3: what would leave a gap is dropped. */
inline admit() {
    op = script[admitted] - 1;
    admitted++;
    if
#ifndef WITHOUT_E2
    :: op < received
#endif
#ifndef WITHOUT_E3
    :: op > received
#endif
    :: else ->
        assert(op == received);
        received++
    fi;
    CLEAR_HIDDEN
}

active proctype Entry() {
end_bounds:
    do
    :: d_step { handed < OPS -> hand_over() }
    :: d_step { seen < committed -> see() }
    :: d_step { first == OPS && seen == committed && admitted == committed ->
        assert(received == OPS);
#ifdef WITNESS
        assert(changes < CHANGES);
#endif
        handed = OPS }
    /* Nothing is on its way, and nothing more will be lost: then nothing is kept. */
    :: d_step { handed == OPS && !flying && seen == committed && changes == CHANGES ->
        assert(first == OPS) }
    od
}

active proctype Primary() {
end_bounds:
    do
    :: d_step { flying && committed < SLOTS -> commit_one() }
    /* Another primary: any of what was handed over is lost, or another op too. */
    :: atomic { changes < CHANGES ->
        changes++;
        i = 0;
        j = 0;
        do
        :: i < flying ->
            if
            :: flight[j] = flight[i]; j++
            :: true
            fi;
            i++
        :: else -> break
        od;
        do
        :: i > j -> i--; flight[i] = 0
        :: else -> break
        od;
        flying = j;
        /* E6: it is handed everything that is kept, in its order. */
#ifndef WITHOUT_E6
        handed = first;
#endif
        CLEAR_HIDDEN }
    od
}

active proctype Replica() {
end_bounds:
    do
    :: d_step { admitted < committed -> admit() }
    od
}
