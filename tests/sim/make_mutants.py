#!/usr/bin/env python3
"""Copies the sources that have mutants, each mutant behind a switch, and writes the list of them.

usage: make_mutants.py SOURCE_ROOT REQUIREMENTS OUT_DIR FILE...

REQUIREMENTS is tests/dialogues/requirements.txt, which says what its form is. In the copies an expression becomes
(mutant_now == N ? (new) : (old)), statements become if (mutant_now == N) { new } else { old }. A text that is not found any more is no
error of the build: the run of the mutants reports it. OUT_DIR gets a copy of each FILE and mutants.c.
"""
import pathlib
import re
import sys


class Requirement:
    def __init__(self, name, text, line):
        self.id, self.text, self.line, self.mutants = name, text, line, []


class Mutant:
    def __init__(self, requirement, words, line):
        self.requirement, self.line = requirement, line
        self.file, _, self.function = words[0].partition(":")
        self.statement = words[1:] == ["statement"]
        self.old, self.new, self.missing, self.number = "", "", None, 0
        self.places = [self]  # all that it breaks


def parse(path):
    """Requirements in order, and complaints."""
    out, errors, mutant = [], [], None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if not line[0].isspace():
            name, _, text = line.partition("  ")
            if not text or " " in name:
                errors.append(f"{path}:{number}: a requirement begins with its id and two blanks: {line}")
            out.append(Requirement(name, text, number))
            mutant = None
        elif not out:
            errors.append(f"{path}:{number}: belongs to no requirement: {line.strip()}")
        elif words[0] in ("without", "and") and (len(words) == 2 or words[2:] == ["statement"]):
            mutant = Mutant(out[-1], words[1:], number)
            if words[0] == "and" and out[-1].mutants:
                out[-1].mutants[-1].places.append(mutant)
            else:
                out[-1].mutants.append(mutant)
        elif words[0] == "-" and mutant is not None:
            mutant.old += line.strip()[1:]
        elif words[0] == "+" and mutant is not None:
            mutant.new += line.strip()[1:]
        else:
            errors.append(f"{path}:{number}: neither without, - nor +: {line.strip()}")
    number = 0
    for requirement in out:
        for mutant in requirement.mutants:
            number += 1
            for place in mutant.places:
                place.number = number
                if not place.old.strip() or not place.new.strip():
                    errors.append(f"{path}:{place.line}: what is taken away, or what stands there instead, is missing")
    return out, errors


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
    pattern = r"(?<!\w)" + r"\s+".join(re.escape(word) for word in m.old.split()) + r"(?!\w)"
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
    requirements, errors = parse(path)
    if errors:
        sys.exit("\n".join(errors))
    mutants = [m for r in requirements for m in r.mutants]
    places = [p for m in mutants for p in m.places]
    for p in places:
        if p.file not in files:
            p.missing = f"{p.file} is not among the files copied (tests/sim/meson.build)"
    for name in files:
        copy(root, name, [p for p in places if p.file == name], out)
    for m in mutants:
        m.missing = next((p.missing for p in m.places if p.missing), None)
    rows = [f'\t{{ "{m.requirement.id}", "{path.name}:{m.line} ({m.file})", {chr(34) + m.missing + chr(34) if m.missing else "0"} }},'
            for m in mutants]
    (out / "mutants.c").write_text('#include "tests/sim/mutant.h"\nconst struct mutant mutants[] = {\n' + "\n".join(rows) +
                                   f"\n}};\nconst unsigned mutants_n = {len(mutants)};\nunsigned mutant_now;\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4:]))
