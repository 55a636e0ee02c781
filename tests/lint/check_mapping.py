#!/usr/bin/env python3
"""Files that map requirements to the tests that hold them: every number is there, every test named exists and is run.

usage: check_mapping.py SOURCE_ROOT FILE [NUMBER...]     (NUMBER: requirements that must be there, as 1-24 or 30a)

A mapping is text. A requirement begins at the margin with its number, which may carry a letter for its part, and says in words what must
hold; what is indented belongs to it:

    12c  A SYN that is repeated gets the same number.
        by tests/unit/tcp/test_tcp_pitfalls_open.c test_pitfall_12_...
        without dataplane/tcp/tcp_listen.c
            - if (e != NULL && e->irs == h->seq) {
            + if (false) {

`by` names a file and a function in it: registered with cmocka, or a case of the end-to-end tests, or `main` of a program that is a test by
itself. `without` is the same source with the behaviour taken away: tests/mutants.py builds it and expects the tests named above to fail.
"""
import pathlib
import re
import sys

HEAD = re.compile(r"^(\d+)([a-z]*)  (\S.*)$")


class Requirement:
    def __init__(self, number, part, text, line):
        self.number, self.part, self.text, self.line = number, part, text, line
        self.tests = []        # (path, function)
        self.mutants = []      # lists of [path, old lines, new lines]

    @property
    def id(self):
        return "%d%s" % (self.number, self.part)


def parse(path):
    """Requirements of a mapping, and complaints."""
    out, errors = [], []
    edit = None
    for n, line in enumerate(path.read_text().splitlines(), 1):
        word = line.split()
        if not word or line.startswith("#"):
            continue
        if not line[0].isspace():
            head = HEAD.match(line)
            if head is None:
                errors.append("%s:%d: a requirement begins with its number and two blanks: %s" % (path, n, line))
                continue
            out.append(Requirement(int(head.group(1)), head.group(2), head.group(3), n))
            edit = None
        elif not out:
            errors.append("%s:%d: belongs to no requirement: %s" % (path, n, line.strip()))
        elif word[0] == "by" and len(word) == 3:
            out[-1].tests.append((word[1], word[2]))
            edit = None
        elif word[0] in ("without", "and") and len(word) == 2:
            edit = [word[1], [], []]
            if word[0] == "without":
                out[-1].mutants.append([edit])
            elif out[-1].mutants:
                out[-1].mutants[-1].append(edit)
        elif word[0] in ("-", "+") and edit is not None:
            edit[1 if word[0] == "-" else 2].append(line.strip()[1:].strip())
        elif edit is None and not out[-1].tests:
            out[-1].text += " " + line.strip()
        else:
            errors.append("%s:%d: neither by, without, and, - nor +: %s" % (path, n, line.strip()))
    return out, errors


def pattern_of(lines):
    """What an edit looks for: the same words, whatever blanks and line ends stand between them."""
    return re.compile(r"\s+".join(re.escape(w) for w in " ".join(lines).split()))


def complaint_of_test(root, name, function):
    path = root / name
    if not path.is_file():
        return "there is no %s" % name
    text = path.read_text()
    if path.suffix == ".py":
        if re.search(r"^@case\((?:(?!^def ).)*?\)\ndef %s\(" % re.escape(function), text, re.M | re.S) is None:
            return "%s has no case %s" % (name, function)
        return None
    if re.search(r"^%s\(" % re.escape(function), text, re.M) is None:
        return "%s has no function %s" % (name, function)
    if function == "main":
        return None
    if re.search(r"(cmocka_unit_test\w*|WORLD_TEST)\(\s*%s\b" % re.escape(function), text) is None:
        return "%s does not run %s" % (name, function)
    return None


def complaints_of_mutant(root, edits):
    """Each edit has to fit exactly one place, in the text that those before it leave."""
    texts = {}
    for name, old, new in edits:
        if not (root / name).is_file():
            yield "there is no %s" % name
        elif not old:
            yield "nothing is taken away from %s" % name
        else:
            text = texts.get(name) or (root / name).read_text()
            found = len(pattern_of(old).findall(text))
            if found != 1:
                yield "%d places in %s, want one, for: %s" % (found, name, " ".join(" ".join(old).split()))
            texts[name] = pattern_of(old).sub(lambda _: "\n".join(new), text)


def is_built(root, name):
    """Whether some meson.build beside or above the file names it, so that it is part of a suite."""
    path = root / name
    stem = path.stem
    for folder in [path.parent] + [p for p in path.parents if root in p.parents]:
        build = folder / "meson.build"
        if build.is_file():
            text = build.read_text()
            if stem in text or re.search(r"'%s'" % re.escape(re.sub("^test_", "", stem)), text):
                return True
    return path.suffix == ".py"


def wanted(words):
    """1-24 or 30a as a list of ids; of a range the numbers alone."""
    for word in words:
        first, dash, last = word.partition("-")
        if dash:
            yield from (str(n) for n in range(int(first), int(last) + 1))
        else:
            yield word


def check(root, path, must):
    requirements, errors = parse(path)
    seen = {}
    for r in requirements:
        where = "%s:%d: %s" % (path, r.line, r.id)
        if r.id in seen:
            errors.append("%s is there already, in line %d" % (where, seen[r.id]))
        seen[r.id] = r.line
        if not r.tests:
            errors.append("%s has no test" % where)
        for name, function in r.tests:
            complaint = complaint_of_test(root, name, function)
            if complaint is None and not is_built(root, name):
                complaint = "%s is in no meson.build" % name
            if complaint is not None:
                errors.append("%s: %s" % (where, complaint))
        for edits in r.mutants:
            errors += ["%s: %s" % (where, complaint) for complaint in complaints_of_mutant(root, edits)]
    for one in wanted(must):
        if not any(r.id == one or (one.isdigit() and r.number == int(one)) for r in requirements):
            errors.append("%s: %s is missing" % (path, one))
    for line in errors:
        print(line)
    print("%s: %d requirements, %d tests named, %d with the behaviour taken away; %d complaints" % (
        path.name, len(requirements), len({t for r in requirements for t in r.tests}),
        sum(len(r.mutants) for r in requirements), len(errors)))
    return 1 if errors or not requirements else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(check(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]), sys.argv[3:]))
