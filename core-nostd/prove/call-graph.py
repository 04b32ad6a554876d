#!/usr/bin/env python3
"""Checks that no function of a static x86-64 program calls itself: call-graph.py PROGRAM

The check covers the functions that the program's first instruction reaches. Functions that only a
table names (such as the texts of a `Debug`, which this program does not print) are not reached,
because no call goes through a table. A program without recursion and without calls of unknown
targets takes no more stack than its longest chain of calls, which is printed with the stack of its
functions. Exits with 1 after a cycle or a call of an unknown target.
"""

import re
import struct
import subprocess
import sys

FUNCTION = re.compile(r"^([0-9a-f]+) <(.*)>:$")
LINE = re.compile(r"^ *([0-9a-f]+):\t(\S+) *(.*)$")
TARGET = re.compile(r"^([0-9a-f]+) <")
RIP = re.compile(r"QWORD PTR \[rip\+0x[0-9a-f]+\] +# ([0-9a-f]+)")
FRAME = re.compile(r"^rsp,0x([0-9a-f]+)$")
# The registers that a called function preserves, and all that a function may use.
KEPT = ("rbx", "rbp", "r12", "r13", "r14", "r15")
REGISTERS = (*KEPT, "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")
# A write to a register, by any of its names.
WRITES = re.compile(r"^([re]?[a-z0-9]+?)[dwl]?,")
TABLE = re.compile(r"^QWORD PTR \[r[a-z0-9]+\*8\+0x([0-9a-f]+)\]$")
NUMBER = re.compile(r"^0x[0-9a-f]+$")


class Memory:
    """The content of the program's file, by address."""

    def __init__(self, path):
        self.bytes = open(path, "rb").read()
        at, size, count = struct.unpack_from("<Q14xHH", self.bytes, 32)
        self.loads = []
        for index in range(count):
            kind, _, offset, address, _, length = struct.unpack_from(
                "<IIQQQQ", self.bytes, at + index * size
            )
            if kind == 1:
                self.loads.append((address, length, offset))

    def word(self, at, form="<Q"):
        for address, length, offset in self.loads:
            if address <= at < address + length:
                return struct.unpack_from(form, self.bytes, offset + at - address)[0]
        return None


class Program:
    def __init__(self, path):
        self.memory = Memory(path)
        self.names = {}
        self.bodies = {}
        listing = subprocess.run(
            ["objdump", "-d", "-C", "--no-show-raw-insn", "-M", "intel", path],
            check=True, capture_output=True, text=True,
        ).stdout
        body = None
        for line in listing.splitlines():
            if found := FUNCTION.match(line):
                start = int(found[1], 16)
                self.names[start] = found[2]
                body = self.bodies[start] = []
            elif body is not None and (found := LINE.match(line)):
                body.append((int(found[1], 16), found[2], found[3]))
        self.starts = sorted(self.bodies)
        self.calls = {start: set() for start in self.starts}
        self.frames = {start: 8 for start in self.starts}
        self.befores = {}
        self.problems = []
        self.first = next(at for at, name in self.names.items() if name == "_start")
        self.reached = {self.first}
        left = [self.first]
        while left:
            start = left.pop()
            self.read(start)
            left += self.calls[start] - self.reached
            self.reached |= self.calls[start]

    def owner(self, address):
        return max((start for start in self.starts if start <= address), default=None)

    def problem(self, start, at, text):
        self.problems.append(f"{self.names[start]}, at {at:x}: {text}")

    def read(self, start):
        body = self.bodies[start]
        for place, (at, name, operands) in enumerate(body):
            if name == "push":
                self.frames[start] += 8
            elif name == "sub" and (frame := FRAME.match(operands)):
                self.frames[start] += int(frame[1], 16)
            elif name == "call":
                self.edge(start, at, body, place, operands, is_call=True)
            elif name.startswith("j"):
                self.edge(start, at, body, place, operands, is_call=False)

    def edge(self, start, at, body, place, operands, is_call):
        """Records a call or a jump, which is a call too if it leads into another function."""
        if found := TARGET.match(operands):
            targets = [int(found[1], 16)]
        elif found := RIP.match(operands):
            targets = [self.memory.word(int(found[1], 16))]
        elif not is_call and self.is_switch(start, body, place, operands):
            return
        else:
            targets = self.loaded(start, place, operands)
        for target in targets:
            owner = target and self.owner(target)
            if owner is None:
                return self.problem(start, at, f"calls {operands}, which is unknown")
            if is_call or owner != start:
                if target != owner:
                    return self.problem(start, at, f"goes into {self.names[owner]}")
                self.calls[start].add(owner)
        if not targets:
            self.problem(start, at, f"calls {operands}, which is unknown")

    def loaded(self, start, place, register):
        """Returns the functions whose addresses a register may hold here, or nothing if it may hold
        any other value."""
        body, before = self.bodies[start], self.before(start)
        targets, seen = set(), set()
        left = [(source, register) for source in before[place]]
        while left:
            place, register = left.pop()
            if (place, register) in seen:
                continue
            seen.add((place, register))
            _, name, operands = body[place]
            written = WRITES.match(operands) if name not in ("cmp", "test") else None
            if name == "pop" and operands == register:
                return []
            if name == "call" and register not in KEPT:
                return []
            if not written or written[1].lstrip("re") != register.lstrip("re"):
                if place == 0:
                    return []
                left += [(source, register) for source in before[place]]
                continue
            source = operands.split(",", 1)[1]
            if name == "mov" and (found := RIP.match(source)):
                targets.add(self.memory.word(int(found[1], 16)))
            elif name == "mov" and NUMBER.match(source):
                targets.add(int(source, 16))
            elif name == "mov" and place and source in REGISTERS:
                left += [(earlier, source) for earlier in before[place]]
            else:
                return []
        return sorted(targets) if targets <= self.names.keys() else []

    def before(self, start):
        """Returns, for each place in a function, the places from which control may come."""
        if start not in self.befores:
            body = self.bodies[start]
            places = {at: place for place, (at, _, _) in enumerate(body)}
            before = [[] for _ in body]
            for place, (_, name, operands) in enumerate(body):
                if name not in ("jmp", "ret", "ud2") and place + 1 < len(body):
                    before[place + 1].append(place)
                if name.startswith("j"):
                    found = TARGET.match(operands)
                    to = [int(found[1], 16)] if found else self.table(body, place, operands)
                    for target in to:
                        if target in places:
                            before[places[target]].append(place)
            self.befores[start] = before
        return self.befores[start]

    def is_switch(self, start, body, place, operands):
        """Returns whether a jump reads a table of places in this function, as a `match` does."""
        table = self.table(body, place, operands)
        return bool(table) and all(start <= target <= body[-1][0] for target in table)

    def table(self, body, place, operands):
        """Returns the targets of a jump that reads a table of places, or of distances to them."""
        if found := TABLE.match(operands):
            at = int(found[1], 16)
            return self.entries(body, lambda index: self.memory.word(at + 8 * index))
        before = body[max(0, place - 2) : place]
        if len(before) < 2 or before[1][1] != "add" or before[0][1] != "movsxd":
            return []
        base = before[1][2].split(",")[1]
        table = None
        for _, name, operands in body[:place]:
            if name == "lea" and operands.startswith(f"{base},[rip+"):
                table = int(operands.split("# ")[1].split()[0], 16)

        def entry(index):
            distance = self.memory.word(table + 4 * index, "<i")
            return distance and table + distance

        return self.entries(body, entry) if table else []

    def entries(self, body, entry):
        """Returns the entries up to the last that is in this function.

        The memory behind a table may be another table, whose entries do no harm, because the first
        entry decides."""
        found = []
        while (target := entry(len(found))) and body[0][0] <= target <= body[-1][0]:
            found.append(target)
        return found

    def cycles(self):
        """Returns the sets of functions that call each other (Tarjan, 1972)."""
        order, low, on, stack, found = {}, {}, set(), [], []
        for root in sorted(self.reached):
            work = [(root, None)]
            while work:
                node, children = work.pop()
                if children is None:
                    if node in order:
                        continue
                    order[node] = low[node] = len(order)
                    stack.append(node)
                    on.add(node)
                    children = iter(sorted(self.calls[node]))
                for child in children:
                    if child not in order:
                        work += [(node, children), (child, None)]
                        break
                    if child in on:
                        low[node] = min(low[node], order[child])
                else:
                    if low[node] == order[node]:
                        part = []
                        while not part or part[-1] != node:
                            part.append(stack.pop())
                            on.discard(part[-1])
                        if len(part) > 1 or node in self.calls[node]:
                            found.append(part)
                    if work and node in on:
                        low[work[-1][0]] = min(low[work[-1][0]], low[node])
        return found

    def deepest(self, root):
        """Returns the bytes of stack of a function, and the chain of calls that takes them."""
        known = {}
        work = [(root, False)]
        while work:
            node, ready = work.pop()
            if node in known:
                continue
            if not ready:
                work.append((node, True))
                work += [(child, False) for child in self.calls[node]]
                continue
            under = [known[child] for child in self.calls[node]]
            depth, chain = max(under, default=(0, []))
            known[node] = (depth + self.frames[node], [node, *chain])
        return known[root]


def main():
    program = Program(sys.argv[1])
    for part in program.cycles():
        names = [program.names[node] for node in reversed(part)]
        # The addresses of functions, which the linker chooses, have no say in the message.
        first = names.index(min(names))
        cycle = " -> ".join(names[first:] + names[:first])
        program.problems.append(f"recursion: {cycle}")
    for problem in program.problems:
        print(f"call-graph: {problem}", file=sys.stderr)
    if program.problems:
        return 1
    depth, chain = program.deepest(program.first)
    count = sum(len(calls) for calls in program.calls.values())
    print(
        f"{len(program.reached)} functions, {count} calls between them, no recursion, "
        "no call whose "
        f"target is not known; at most {depth} bytes of stack, {len(chain)} functions deep"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
