#!/usr/bin/env python3
"""Which state meets which segment at which place of the window: read from the scripts as they are, not from the table they come of.

usage: coverage.py FOLDER...          the table: scripts in each cell
       coverage.py --check FOLDER...  status 1 where a cell that has to be is empty, or a segment's place cannot be told

Of each script the first segment of the peer counts, for it is what meets the state. RFC 9293 section 3.10.7: states with a window meet SYN,
ACK, RST, FIN, text and text with a FIN before, at, inside, at the last number of, at the edge of and beyond it; what has a length also
across either edge. CLOSED, LISTEN and SYN-SENT have no window: there each kind is met once, whatever its number.
"""
import pathlib
import re
import sys

WINDOWLESS = ("CLOSED", "LISTEN", "SYN-SENT")
WINDOWED = ("SYN-RECEIVED", "SYN-RECEIVED-BOTH", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING", "LAST-ACK", "TIME-WAIT")
KINDS = ("SYN", "SYN-ACK", "RST", "ACK", "FIN", "text", "text+FIN")
# A number is relative to RCV.NXT = 0; the window is [0, edge). Columns: where the first and the last number of a segment lie.
POINTS = ("before", "at-left", "inside", "at-last", "at-edge", "beyond")
SPANS = ("before", "across-left", "at-left", "inside", "to-last", "across-edge", "at-edge", "beyond")
EDGE = 1 << 20      # stands for the edge: further than any number of a script


class Unclear(Exception):
    pass


def number(word):
    found = re.fullmatch(r"(edge)?([+-]?\d+)?", word)
    if not word or not found:
        raise Unclear("seq=%s" % word)
    return (EDGE if found.group(1) else 0) + int(found.group(2) or 0)


def point(n):
    return ("before" if n < 0 else "at-left" if n == 0 else "inside" if n < EDGE - 1 else "at-last" if n == EDGE - 1 else
            "at-edge" if n == EDGE else "beyond")


def span(first, octets):
    last = first + octets - 1
    if last < 0:
        return "before"
    if first < 0:
        return "across-left"
    if first == EDGE:
        return "at-edge"
    if first > EDGE:
        return "beyond"
    if last >= EDGE:
        return "across-edge"
    return "at-left" if first == 0 else "to-last" if last == EDGE - 1 else "inside"


def kind_of(flags, octets):
    for letters, kind in (("R", "RST"), ("SA", "SYN-ACK"), ("S", "SYN")):
        if all(x in flags for x in letters):
            return kind
    if "A" not in flags:
        return None     # without an ACK: dropped whatever it is; the grid has those apart
    if "F" in flags:
        return "text+FIN" if octets else "FIN"
    return "text" if octets else "ACK"


def cell_of(text):
    """(state, kind, place) of the first segment of a script; None: of none of the kinds, or its numbers are of a window it moved before."""
    state = re.search(r"^state (\S+)(.*)$", text, re.M)
    words = re.search(r"^in (\S+)(.*)$", text, re.M)
    if not state or not words or re.search(r"^(wait|write|read|close|abort|keepalive)\b", text[:words.start()], re.M):
        return None
    flags, rest = words.group(1), dict(w.partition("=")[::2] for w in words.group(2).split("#")[0].split())
    if "bad-checksum" in rest or rest.get("ts", "").startswith("-") or rest.get("ts") == "none":
        return None     # never gets as far as its number
    octets = int(rest.get("len", 0))
    kind = kind_of(flags, octets)
    if kind is None:
        return None
    if state.group(1) in WINDOWLESS:
        return state.group(1), kind, "any"
    first = number(rest.get("seq", "0"))
    limit = re.search(r"\brcv=(\d+)", state.group(2))
    if limit and 0 <= first < EDGE // 2 and first + octets > int(limit.group(1)):
        return state.group(1), kind, "longer"
    return state.group(1), kind, span(first, octets + (kind == "text+FIN")) if octets else point(first)


def wanted():
    for state in WINDOWLESS:
        for kind in KINDS:
            if kind != "text+FIN":
                yield state, kind, "any"
    for state in WINDOWED:
        for kind in KINDS:
            for place in SPANS if kind in ("text", "text+FIN") else POINTS:
                yield state, kind, place
    for state in ("ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2"):
        for kind in ("text", "text+FIN"):
            yield state, kind, "longer"     # than the window, in order: across its edge and taken in part


def main(argv):
    check = argv[:1] == ["--check"]
    cells, failed, n = {}, 0, 0
    for folder in argv[1 if check else 0:]:
        for path in sorted(pathlib.Path(folder).glob("*.seg")):
            n += 1
            try:
                cell = cell_of(path.read_text())
            except (Unclear, ValueError) as error:
                print("%s: the place of its first segment cannot be told: %s" % (path, error))
                failed += 1
                continue
            if cell:
                cells.setdefault(cell, []).append(path.name)
    want = list(wanted())
    for cell in want:
        if cell not in cells:
            print("no script: %s meets %s, %s" % cell)
            failed += 1
    if not check:
        for state in WINDOWLESS + WINDOWED:
            for kind in KINDS:
                row = [(place, len(cells.get((state, kind, place), ()))) for s, k, place in want if (s, k) == (state, kind)]
                if row:
                    print("%-18s %-9s %s" % (state, kind, "  ".join("%s %d" % r for r in row)))
    print("%d scripts, %d of %d cells" % (n, sum(c in cells for c in want), len(want)))
    return 1 if failed or n == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
