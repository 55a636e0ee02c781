#!/usr/bin/env python3
"""Copies the sources that have mutants, each with a switch in it, and writes the list of them.

usage: make_mutants.py SOURCE_ROOT LIST OUT_DIR FILE ...

LIST holds mutants, one after another, a blank line between them:

    ID FILE[:FUNCTION] [statement]
    -text of the source, found once in the file (or in the function); blanks may differ
    +what stands there instead

Text is an expression, or with the word "statement" whole statements. In the copy it becomes
(mutant_now == N ? (new) : (old)), or if (mutant_now == N) { new } else { old }. What is not found any more is no error of the build: the
run of the mutants reports it. OUT_DIR gets a file for each of the FILES, and mutants.c.
"""
import pathlib
import re
import sys


class Mutant:
    def __init__(self, number, head, old, new, line):
        words = head.split()
        self.number, self.line = number, line
        self.id = words[0]
        self.file, _, self.function = words[1].partition(":")
        self.statement = words[2:] == ["statement"]
        self.old, self.new = old, new
        self.missing = None


def parse(path):
    mutants, head, old, new, at = [], None, [], [], 0

    def end():
        nonlocal head, old, new
        if head is not None:
            if not old:
                sys.exit(f"{path}:{at}: a mutant without the text it changes")
            mutants.append(Mutant(len(mutants) + 1, head, "\n".join(old), "\n".join(new), at))
        head, old, new = None, [], []

    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            end()
        elif line.startswith("-") and head is not None:
            old.append(line[1:])
        elif line.startswith("+") and head is not None:
            new.append(line[1:])
        elif head is None:
            if len(line.split()) < 2:
                sys.exit(f'{path}:{number}: right is "ID FILE[:FUNCTION] [statement]"')
            head, at = line, number
        else:
            sys.exit(f"{path}:{number}: neither - nor + nor a blank line")
    end()
    return mutants


def body_of(text, function):
    """From the line where the function's name stands in column 1 to the next brace in column 1."""
    found = re.search(rf"^(?:[^\s#/][^\n;]*\b)?{re.escape(function)}\([^;]*?\)\n{{", text, re.M)
    if found is None:
        return None
    return found.start(), text.index("\n}", found.end()) + 2


def place(text, m):
    start, end = 0, len(text)
    if m.function:
        body = body_of(text, m.function)
        if body is None:
            m.missing = f"no function {m.function}() in {m.file}"
            return None
        start, end = body
    pattern = r"\s+".join(re.escape(word) for word in m.old.split())
    hits = [h for h in re.finditer(pattern, text[start:end])]
    if len(hits) != 1:
        m.missing = f"its text stands {len(hits)} times in {m.file}, not once"
        return None
    return start + hits[0].start(), start + hits[0].end()


def switch(m, old):
    if m.statement:
        return f"if (mutant_now == {m.number}) {{ {m.new} }} else {{ {old} }}"
    return f"(mutant_now == {m.number} ? ({m.new}) : ({old}))"


def copy(root, name, mutants, out):
    text = (root / name).read_text()
    places = []
    for m in mutants:
        at = place(text, m)
        if at is not None:
            places.append((at, m))
    # two of one text: one switch inside the other
    places.sort(key=lambda p: p[0], reverse=True)
    merged = []
    for at, m in places:
        if merged and merged[-1][0] == at:
            merged[-1][1].append(m)
        elif merged and at[1] > merged[-1][0][0]:
            m.missing = f"its text overlaps that of the mutant in line {merged[-1][1][0].line}"
        else:
            merged.append((at, [m]))
    for (start, end), several in merged:
        new = text[start:end]
        for m in several:
            new = switch(m, new)
        text = text[:start] + new + text[end:]
    (out / name.replace("/", "_")).write_text(f'#include "tests/sim/mutant.h"\n#line 1 "{name}"\n' + text)


def main(root, path, out, files):
    mutants = parse(path)
    for m in mutants:
        if m.file not in files:
            m.missing = f"{m.file} is not among the files copied (tests/sim/meson.build)"
    for name in files:
        copy(root, name, [m for m in mutants if m.file == name], out)
    rows = [f'\t{{ "{m.id}", "{path.name}:{m.line} ({m.file})", {chr(34) + m.missing + chr(34) if m.missing else "0"} }},'
            for m in mutants]
    (out / "mutants.c").write_text('#include "tests/sim/mutant.h"\nconst struct mutant mutants[] = {\n' + "\n".join(rows) +
                                   f"\n}};\nconst unsigned mutants_n = {len(mutants)};\nunsigned mutant_now;\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4:]))
