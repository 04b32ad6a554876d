/* How a group begins: three nodes with empty storage, each of which may lose it once, as long as
 * only one is without its storage at a time. See rejoin.md for the rules.
 *
 * Answers carry the nonce of the run that asked, so what a loss makes stale does not count (R6).
 * An answer may be old within a run: it is remembered in `met`. What must hold: who votes with
 * the life it was born with has not voted with a storage that was lost. */

#define N 3
#define BLANK 0
#define READY 1
#define VOTER 2
#define REJOINING 3

byte standing[N];
/* By asking node and other: 0 nothing, else one more than the standing that was answered. */
byte met[N * N];
#define MET(n, x) met[(n) * N + (x)]
/* Who lost its storage ever, and who is without it now; who had voted with what was lost. */
bool lost[N], without[N], voted[N], had_voted[N];

hidden byte i;
#define CLEAR_HIDDEN i = 0
#define OTHER(n, k) (((n) + (k)) % N)

#define IS_NEW(answer) ((answer) == BLANK + 1 || (answer) == READY + 1)
#define IS_READY(answer) ((answer) == READY + 1)

inline lose(n) {
    lost[n] = true;
    without[n] = true;
    had_voted[n] = voted[n];
    voted[n] = false;
    standing[n] = BLANK;
    /* R6: another run; what was answered to the one before does not count. */
#ifndef WITHOUT_R6
    for (i : 0 .. N - 1) {
        MET(n, i) = 0
    }
#endif
    CLEAR_HIDDEN
}

#ifdef WITHOUT_R1
#define MAY_BE_READY(n) (MET(n, OTHER(n, 1)) && MET(n, OTHER(n, 2)))
#else
/* R1: all the others are as new. */
#define MAY_BE_READY(n) (IS_NEW(MET(n, OTHER(n, 1))) && IS_NEW(MET(n, OTHER(n, 2))))
#endif
/* R2: none votes before all are ready, or somebody votes already. */
#ifdef WITHOUT_R2
#define MAY_VOTE(n) true
#else
#define MAY_VOTE(n) (IS_READY(MET(n, OTHER(n, 1))) && IS_READY(MET(n, OTHER(n, 2))))
#endif

#define HEARD_OF_VOTER(n) (MET(n, OTHER(n, 1)) > VOTER || MET(n, OTHER(n, 2)) > VOTER)

inline become_voter(n) {
    standing[n] = VOTER;
    without[n] = false;
    assert(!had_voted[n]);
#ifdef WITNESS
    assert(!(lost[n] && standing[OTHER(n, 1)] == VOTER && standing[OTHER(n, 2)] == VOTER));
#endif
    CLEAR_HIDDEN
}

proctype Node(byte n) {
end_bounds:
    do
    :: d_step { standing[n] != VOTER -> MET(n, OTHER(n, 1)) = standing[OTHER(n, 1)] + 1 }
    :: d_step { standing[n] != VOTER -> MET(n, OTHER(n, 2)) = standing[OTHER(n, 2)] + 1 }
    :: d_step { standing[n] == BLANK && MAY_BE_READY(n) -> standing[n] = READY }
    :: d_step { standing[n] == READY && MAY_VOTE(n) -> become_voter(n) }
    /* R2, R3: somebody votes, or has voted. */
    :: d_step { standing[n] == READY && HEARD_OF_VOTER(n) ->
        become_voter(n) }
    :: d_step { standing[n] == BLANK && HEARD_OF_VOTER(n) ->
        /* A node that has lost nothing need not rejoin. */
        assert(lost[n]);
        standing[n] = REJOINING }
    /* The log names the new life (rejoin.pml): not the one that it was born with. */
    :: d_step { standing[n] == REJOINING ->
        without[n] = false;
        standing[n] = VOTER;
        had_voted[n] = false }
    /* It votes together with another voter: under whose ballot does not matter here. */
    :: d_step { standing[n] == VOTER && !voted[n] && standing[OTHER(n, 1)] == VOTER ->
        voted[n] = true; voted[OTHER(n, 1)] = true }
    :: d_step { !lost[n] && !without[OTHER(n, 1)] && !without[OTHER(n, 2)] -> lose(n) }
    od
}

init {
    atomic { run Node(0); run Node(1); run Node(2) }
}
