/* A lost storage: five nodes, one of which loses its storage up to twice, while a primary appends
 * to its log and a candidate collects promises. See rejoin.md for the rules.
 *
 * Node 0 leads under ballot 1, and all have adopted its log, so each log is a beginning of node
 * 0's and its last slot says it all (agreement.pml has logs that differ). Node 1 stands under
 * ballot 2. Node 2 is the one that loses. What was said once may arrive at any time. What must
 * hold: whatever is chosen under ballot 1, before or after the election, is in the log that
 * ballot 2 takes over. */

#define N 5
#ifndef S
#define S 3
#endif
#define LOSSES 2
#define MAJORITY 3

/* In each slot: 0 a payload, else the life of node 2 that it names. */
byte names[S + 1];
/* Of each node: the last slot, and whether it has promised ballot 2. */
byte last[N];
bool promised[N];
/* Said, one more than the slot: acknowledgements under ballot 1 and promises of ballot 2; those of
 * node 2 by its life. */
byte acked[N] = 1, promise[N];
byte acked_by_life[LOSSES + 1], promise_by_life[LOSSES + 1];
/* Node 2: which life its storage has, and whether it votes. */
byte life;
bool votes = true;
/* The primary's commit index, and what ballot 2 took over (one more). */
byte chosen, start;

hidden byte i, count, end, own;

#define CLEAR_HIDDEN i = 0; count = 0; end = 0; own = 0

/* The life that a log up to a slot names. */
inline life_named(up_to) {
    own = 0;
    i = 1;
    do
    :: i <= (up_to) ->
        if
        :: names[i] -> own = names[i]
        :: else
        fi;
        i++
    :: else -> break
    od
}

/* R4: of the acknowledgements, those of the life count which the own log names. */
inline choose() {
    life_named(last[0]);
    end = last[0];
    do
    :: end > chosen ->
        count = (acked[0] > end) + (acked[1] > end) + (acked[3] > end) + (acked[4] > end);
#ifdef WITHOUT_R4
        count = count + (acked_by_life[0] > end || acked_by_life[1] > end ||
            acked_by_life[2] > end);
#else
        count = count + (acked_by_life[own] > end);
#endif
        if
        :: count >= MAJORITY -> break
        :: else -> end--
        fi
    :: else -> break
    od;
    if
    :: end > chosen -> chosen = end; assert(!start || chosen < start)
    :: else
    fi;
    CLEAR_HIDDEN
}

/* R4, of promises; looked at again when the log has been completed. `third`: which of node 2's
 * lives was heard from, none above LOSSES. */
inline elect(with_3, with_4, third) {
    end = last[1];
    do
    :: true ->
        life_named(end);
        count = 1 + (with_3) + (with_4);
#ifdef WITHOUT_R4
        count = count + ((third) <= LOSSES);
#else
        count = count + ((third) == own);
#endif
        if
        :: count < MAJORITY -> break
        :: else
        fi;
        if
        :: (with_3) && promise[3] - 1 > end -> end = promise[3] - 1
        :: !((with_3) && promise[3] - 1 > end) && (with_4) && promise[4] - 1 > end ->
            end = promise[4] - 1
        :: !((with_3) && promise[3] - 1 > end) && !((with_4) && promise[4] - 1 > end) &&
            (third) == own && promise_by_life[own] - 1 > end -> end = promise_by_life[own] - 1
        :: else -> start = end + 1; assert(chosen < start);
#ifdef WITNESS
            assert(!(chosen && own == LOSSES && (third) == own));
#endif
            break
        fi
    :: else -> break
    od;
    CLEAR_HIDDEN
}

#define HEARD_3 (promise[3] != 0)
#define HEARD_4 (promise[4] != 0)
#define ELECT(guard, with_3, with_4, third) \
    :: d_step { promised[1] && !start && (guard) -> elect(with_3, with_4, third) }

proctype Primary() {
end_bounds:
    do
    :: d_step { last[0] < S -> last[0]++; acked[0] = last[0] + 1 }
    /* R7: on node 2's request it proposes the new life. */
    :: d_step { last[0] < S && life -> life_named(last[0]);
        if
        :: own != life -> last[0]++; names[last[0]] = life; acked[0] = last[0] + 1
        :: else
        fi;
        CLEAR_HIDDEN }
    :: d_step { last[0] > chosen -> choose() }
    od
}

proctype Candidate() {
end_bounds:
    do
    :: d_step { !promised[1] -> promised[1] = true; promise[1] = last[1] + 1 }
    ELECT(HEARD_3 && HEARD_4, 1, 1, 9)
    ELECT(HEARD_3 && promise_by_life[0], 1, 0, 0)
    ELECT(HEARD_3 && promise_by_life[1], 1, 0, 1)
    ELECT(HEARD_3 && promise_by_life[2], 1, 0, 2)
    ELECT(HEARD_4 && promise_by_life[0], 0, 1, 0)
    ELECT(HEARD_4 && promise_by_life[1], 0, 1, 1)
    ELECT(HEARD_4 && promise_by_life[2], 0, 1, 2)
    ELECT(HEARD_3 && HEARD_4 && promise_by_life[0], 1, 1, 0)
    ELECT(HEARD_3 && HEARD_4 && promise_by_life[1], 1, 1, 1)
    ELECT(HEARD_3 && HEARD_4 && promise_by_life[2], 1, 1, 2)
    od
}

proctype Backup(byte n) {
end_bounds:
    do
    :: d_step { !promised[n] && last[n] < last[0] -> last[n]++;
        if
        :: n != 2 -> acked[n] = last[n] + 1
        :: n == 2 && votes -> acked_by_life[life] = last[2] + 1
        :: else
        fi }
    :: d_step { n == 2 && votes && !promised[n] && acked_by_life[life] < last[2] + 1 ->
        acked_by_life[life] = last[2] + 1 }
    :: d_step { n != 1 && promised[1] && !promised[n] && (n != 2 || votes) -> promised[n] = true;
        if
        :: n != 2 -> promise[n] = last[n] + 1
        :: else -> promise_by_life[life] = last[2] + 1
        fi }
    /* The storage is lost; R3: the node learns, and does not vote. */
    :: d_step { n == 2 && life < LOSSES -> life++; last[2] = 0; promised[2] = false;
#ifdef WITHOUT_R3
        votes = true
#else
        votes = false
#endif
        }
    /* R5: it votes again when its life is named in its own log, as far as that is committed. */
    :: d_step { n == 2 && !votes ->
        end = last[2];
#ifndef WITHOUT_R5
        end = (end < chosen -> end : chosen);
#endif
        life_named(end);
        if
        :: own == life -> votes = true
        :: else
        fi;
        CLEAR_HIDDEN }
    od
}

init {
    atomic {
        acked_by_life[0] = 1;
        run Primary(); run Candidate(); run Backup(1); run Backup(2); run Backup(3); run Backup(4)
    }
}
