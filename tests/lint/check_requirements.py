#!/usr/bin/env python3
"""Every requirement has a scenario that names it and a mutant that takes it away; no scenario names another.

usage: check_requirements.py SOURCE_ROOT
"""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "sim"))
import make_mutants  # noqa: E402


def main(root):
    path = root / "tests/dialogues/requirements.txt"
    requirements, errors = make_mutants.parse(path)
    ids = {}
    for r in requirements:
        if r.id in ids:
            errors.append(f"{path}:{r.line}: {r.id} is there already, in line {ids[r.id]}")
        ids[r.id] = r.line
        if not r.mutants:
            errors.append(f"{path}:{r.line}: {r.id} is never taken away")
    shown, n = set(), 0
    meson = (root / "tests/sim/meson.build").read_text()
    for scenes in sorted((root / "tests/dialogues/worker").glob("*.txt")):
        title = None
        if f"worker/{scenes.name}'" not in meson:
            errors.append(f"{scenes}: is not among the files that tests/sim/meson.build runs")
        for number, line in enumerate(scenes.read_text().splitlines(), 1):
            if line.startswith("== "):
                if title is not None:
                    errors.append(f"{scenes}:{title}: names no requirement")
                title, n = number, n + 1
            elif re.match(r"for( |$)", line):
                title = None
                for word in line.split()[1:]:
                    shown.add(word)
                    if word not in ids:
                        errors.append(f"{scenes}:{number}: no requirement is called {word}")
        if title is not None:
            errors.append(f"{scenes}:{title}: names no requirement")
    errors += [f"{path}:{line}: {name} has no scenario" for name, line in ids.items() if name not in shown]
    print("\n".join(errors + [f"{len(ids)} requirements, {n} scenarios, {sum(len(r.mutants) for r in requirements)} mutants, "
                              f"{len(errors)} complaints"]))
    return 1 if errors or not ids else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
