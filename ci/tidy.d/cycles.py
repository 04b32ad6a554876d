"""The check `cycles`: the files of a room do not need each other in a circle."""

from collections import deque

from modules import Crate
from tree import Problem

# The rooms, each of which is checked by itself.
ROOMS = (
    "core-nostd/src/paxos",
    "frontend-linux/crane-linux/src/driver",
    "frontend-linux/crane-preload/src",
)


# Files that were in a circle when the check was written, one path a line. The list may only shrink.
RATCHET = "ci/ratchet/circles"


def cycles(tree):
    """Refuses a circle among the files of a room, and shows the shortest with its causes.

    A circle whose files are all in the ratchet is accepted. A file that left its circle is refused
    in the ratchet, so that the circle cannot return.
    """
    problems = []
    known = tree.lines(RATCHET) if tree.exists(RATCHET) else []
    known = {line for line in known if line and not line.startswith("#")}
    knotted = set()
    for room in ROOMS:
        files = tree.under(room, ending=".rs")
        if not files:
            remedy = "correct ROOMS in ci/tidy.d/cycles.py"
            problems.append(Problem(room, 1, "the room has no file", remedy))
            continue
        source = room[: (room + "/").index("/src/")] + "/src"
        edges = Crate(tree, source).edges(room)
        for knot in knots(edges):
            knotted |= set(knot)
            if not set(knot) <= known:
                problems.append(describe(room, edges, knot))
    for path in sorted(known - knotted):
        what = f"{path} is in no circle any more"
        problems.append(Problem(RATCHET, 1, what, "remove its line from the list"))
    return problems


def describe(room, edges, knot):
    circle = shortest(edges, knot)
    steps = list(zip(circle, circle[1:] + circle[:1]))
    names = [path.removeprefix(room + "/") for path in [*circle, circle[0]]]
    details = []
    for here, there in steps:
        for line, why in sorted(edges[here][there])[:3]:
            details.append(f"{here}:{line}: {why}, of {there.removeprefix(room + '/')}")
        if len(edges[here][there]) > 3:
            details.append(f"    and {len(edges[here][there]) - 3} more of this kind")
    what = f"a circle of {len(circle)} files: {' → '.join(names)}"
    if len(knot) > len(circle):
        knotted = ", ".join(sorted(path.removeprefix(room + "/") for path in knot))
        details.append(f"the shortest one; {len(knot)} files reach each other: {knotted}")
    first = min(edges[circle[0]][steps[0][1]])[0]
    remedy = "move the code that both need below them, or return a value instead of calling back"
    return Problem(circle[0], first, what, remedy, tuple(details))


def reached(edges, start, inside=None):
    """Returns the files that a file needs, directly or not, with the way to each."""
    ways, queue = {}, deque([(start, (start,))])
    while queue:
        here, way = queue.popleft()
        for there in sorted(edges.get(here, ())):
            if there not in ways and (inside is None or there in inside):
                ways[there] = way
                queue.append((there, (*way, there)))
    return ways


def knots(edges):
    """Returns the sets of files that all reach each other."""
    ways = {file: set(reached(edges, file)) for file in sorted(edges)}
    found, seen = [], set()
    for file in sorted(edges):
        if file in ways[file] and file not in seen:
            knot = {other for other in ways[file] if file in ways.get(other, ())}
            seen |= knot
            found.append(knot)
    return found


def shortest(edges, knot):
    """Returns the shortest circle in a knot, as the list of its files."""
    circles = [reached(edges, file, knot)[file] for file in sorted(knot)]
    return list(min(circles, key=len))
