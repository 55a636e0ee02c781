#!/usr/bin/env python3
"""Takes the behaviours of a mapping away, one by one, and sees that the tests named for them fail.

usage: mutants.py SOURCE_ROOT BUILD_DIR MAPPING [ID...]

A copy of the sources lies in BUILD_DIR/src; it alone is changed. What survives, and what no longer applies because the sources moved on,
is named, and the exit status is 1.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent / "lint"))
import check_mapping  # noqa: E402

RUN_LIMIT_S = 120


def copy_sources(root, to):
    names = subprocess.run(["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                           check=True, stdout=subprocess.PIPE).stdout.decode().split("\0")
    wanted = {n for n in names if n and (root / n).is_file()}
    for name in wanted:
        source, target = root / name, to / name
        if target.is_file() and target.read_bytes() == source.read_bytes():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    for path in list(to.rglob("*")):
        if path.is_file() and str(path.relative_to(to)) not in wanted:
            path.unlink()


def programs_of(build):
    """Source file -> (target to build, command that runs it, where, targets it needs besides), of the tests meson knows."""
    introspect = lambda what: json.loads(subprocess.run(["meson", "introspect", what, str(build)], check=True,  # noqa: E731
                                                        stdout=subprocess.PIPE).stdout)
    sources, made = {}, {}
    for target in introspect("--targets"):
        made[target["id"]] = [os.path.relpath(f, build) for f in target["filename"]]
        for group in target.get("target_sources", []):
            for source in group.get("sources", []):
                sources.setdefault(target["filename"][0], set()).add(source)
    out = {}
    for test in introspect("--tests"):
        for source in sources.get(test["cmd"][0], ()):
            needs = [f for d in test["depends"] for f in made.get(d, ())]
            out.setdefault(source, (os.path.relpath(test["cmd"][0], build), test["cmd"], test["workdir"] or str(build), needs))
    return out


def ninja(build, targets):
    return subprocess.run(["ninja", "-j2", "-C", str(build)] + sorted(set(targets)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def fails(command, cwd):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as tmp:  # a test that fails leaves its folder behind
        try:
            return subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=RUN_LIMIT_S,
                                  env={**os.environ, "TMPDIR": tmp}).returncode != 0
        except subprocess.TimeoutExpired:
            return True


def apply(src, edits):
    """The files as they were, by path; None and a complaint when an edit does not fit exactly one place."""
    before = {}
    for name, old, new in edits:
        path = src / name
        text = path.read_text()
        before.setdefault(path, text)
        found = check_mapping.pattern_of(old).findall(text)
        if len(found) != 1:
            for p, t in before.items():
                p.write_text(t)
            return None, "%s: %d places for: %s" % (name, len(found), " ".join(old))
        path.write_text(check_mapping.pattern_of(old).sub(lambda m: "\n".join(new), text))
    return before, None


def main(root, build, mapping, ids):
    requirements, errors = check_mapping.parse(mapping)
    if errors:
        print("\n".join(errors))
        return 1
    src, out = build / "src", build / "build"
    src.mkdir(parents=True, exist_ok=True)
    copy_sources(root, src)
    if not (out / "build.ninja").is_file():
        subprocess.run(["meson", "setup", str(out), str(src), "-Doptimization=0", "-Ddebug=false", "-Dwerror=false", "-Ddebug_checks=true"],
                       check=True, stdout=subprocess.DEVNULL)
    programs = programs_of(out)
    killed, bad = 0, []
    for r in requirements:
        if ids and r.id not in ids and str(r.number) not in ids:
            continue
        tests = sorted({programs[str(src / name)] [0] for name, _ in r.tests if str(src / name) in programs})
        commands = {programs[str(src / name)][0]: programs[str(src / name)][1:3] for name, _ in r.tests if str(src / name) in programs}
        if not r.mutants or not tests:
            continue
        for n, edits in enumerate(r.mutants, 1):
            label = "%s.%d" % (r.id, n)
            before, complaint = apply(src, edits)
            if before is None:
                bad.append("%s does not apply any more: %s" % (label, complaint))
                print(bad[-1], flush=True)
                continue
            try:
                built = ninja(out, tests + [n for p in programs.values() if p[0] in tests for n in p[3]])
                if built.returncode:
                    bad.append("%s does not compile:\n%s" % (label, built.stdout.decode()[-1500:]))
                elif any(fails(*commands[t]) for t in tests):
                    killed += 1
                    print("%s  killed" % label, flush=True)
                    continue
                else:
                    bad.append("%s SURVIVES: %s" % (label, r.text))
                print(bad[-1], flush=True)
            finally:
                for path, text in before.items():
                    path.write_text(text)
    everything = {programs[s][0] for s in programs if any(str(src / name) == s for r in requirements for name, _ in r.tests)}
    built = ninja(out, everything | {n for p in programs.values() if p[0] in everything for n in p[3]})
    for target in sorted(everything):
        command = next(p for p in programs.values() if p[0] == target)
        if built.returncode or fails(*command[1:3]):
            bad.append("%s fails without any change" % target)
            print(bad[-1])
    print("%d killed, %d not" % (killed, len(bad)))
    return 1 if bad or killed == 0 else 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), pathlib.Path(sys.argv[3]).resolve(), sys.argv[4:]))
