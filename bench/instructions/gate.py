#!/usr/bin/env python3
"""Instructions a session, counted by callgrind over a simulated worker, against what is recorded.

Usage: gate.py PROGRAM            compares with expected.json; exit 1 above +5 %, 77 where valgrind is missing
       gate.py PROGRAM --trained  likewise, and it is an error when the program was not laid out by a profile
       gate.py PROGRAM --record   writes expected.json: only with a commit that argues for the new figures
       gate.py PROGRAM --profile  prints where the instructions of the first row go: by layer, by function, by line

The count is exact from run to run of one program; another compiler or C library moves it a little, so both are recorded beside it. A program laid out
by a profile (dataplane/train.py) and a plain one have figures of their own; which it is, 'PROGRAM --layout' says.
"""
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
EXPECTED = os.path.join(HERE, "expected.json")
ABOVE = 1.05
SESSIONS = 400
# name, arguments: what one session costs in the burst of a loaded worker, alone in a turn, and for the other verdicts
ROWS = (
    ("greylist", ["--slots", "32"]),
    ("greylist alone in each turn", ["--slots", "1"]),
    ("listed", ["--slots", "32", "--template", "listed"]),
    ("denied", ["--slots", "32", "--template", "denied"]),
    ("relayed message of 10 KB", ["--slots", "32", "--template", "data", "--message", "10240"]),
    ("spoofed SYN", ["--flood", str(SESSIONS // 32 * 32)]),  # each for itself, not a session; answered by a cookie alone
)
# what a further full segment of a message costs, its way in, its way out and its acknowledgements: a long one less a short one, divided
BODY_ROW = "a further segment of a message"
BODY_SESSIONS, BODY_SHORT, BODY_LONG, BODY_SEGMENT = 4, 14480, 434400, 1448


def count(program, arguments, out, sessions=SESSIONS):
    """Instructions of one session, not rounded."""
    command = ["valgrind", "--tool=callgrind", "--toggle-collect=measured_turn*", "--callgrind-out-file=" + out,
               program, "--sessions", str(sessions)] + arguments
    n = int(arguments[1]) if arguments[0] == "--flood" else sessions
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, LC_ALL="C"))
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not collected or not int(collected.group(1)):
        sys.exit("instructions: %s failed:\n%s%s" % (" ".join(command), done.stdout, done.stderr[-2000:]))
    return int(collected.group(1)) / n


def body_segment(program, out):
    short, long = (count(program, ["--slots", "4", "--template", "data", "--message", str(m)], out, BODY_SESSIONS) for m in (BODY_SHORT, BODY_LONG))
    return (long - short) / ((BODY_LONG - BODY_SHORT) / BODY_SEGMENT)


def counts(program, out):
    """Instructions each, by row."""
    seen = {name: round(count(program, arguments, out)) for name, arguments in ROWS}
    seen[BODY_ROW] = round(body_segment(program, out))
    return seen


LAYER = re.compile(r"^\s*([\d,]+) \(\s*[\d.]+%\)\s+(\S+?):\S")
# hashes are shown apart, because every layer has some
APART = {"siphash.c": "hashes (SipHash)", "csum.c": "checksums", "csum.h": "checksums", "wheel.c": "timers (wheel)", "wheel.h": "timers (wheel)"}


def layers(annotated):
    """Instructions a session by the folder of the source line they come from, inlined ones included: [(name, count)], most first."""
    sums = {}
    for line in annotated.splitlines():
        found = LAYER.match(line)
        if not found or "PROGRAM TOTALS" in line:
            continue
        path = found.group(2)
        folder = re.search(r"dataplane/(\w+)/", path)
        name = APART.get(os.path.basename(path)) or (folder.group(1) if folder else "port (here: copies of frames)" if "bench/" in path else "libc")
        sums[name] = sums.get(name, 0) + int(found.group(1).replace(",", ""))
    return sorted(((n, round(v / SESSIONS)) for n, v in sums.items()), key=lambda row: -row[1])


def versions():
    with open("/etc/os-release") as f:
        system = dict(line.rstrip().split("=", 1) for line in f if "=" in line).get("PRETTY_NAME", "").strip('"')
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True).stdout.splitlines()[:1]
    return {"compiler": (compiler or ["unknown"])[0], "libc": " ".join(platform.libc_ver()), "system": system}


def layout_of(program):
    """'trained: DIGEST' or 'plain: WHY'."""
    done = subprocess.run([program, "--layout"], capture_output=True, text=True)
    if done.returncode or ":" not in done.stdout:
        sys.exit("instructions: %s --layout failed: %s" % (program, done.stderr))
    return done.stdout.strip()


def main(argv):
    if not argv:
        sys.exit(__doc__)
    if not shutil.which("valgrind"):
        print("skipped: valgrind is missing (apt-get install valgrind; ./dev test installs it)")
        return 77
    program = os.path.abspath(argv[0])
    layout = layout_of(program)
    print("layout: " + layout)
    section = "instructions_a_session_" + layout.split(":")[0]
    if "--trained" in argv and not layout.startswith("trained:"):
        print("this build should be laid out by a profile, and is not")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "callgrind")
        if "--profile" in argv:
            count(program, ROWS[0][1], out)
            annotate = ["callgrind_annotate", "--auto=no", "--threshold=100", out]
            text = subprocess.run(annotate, stdout=subprocess.PIPE, text=True, env=dict(os.environ, LC_ALL="C")).stdout
            rows = layers(text)
            for name, n in rows:
                print("%-32s %7d instructions a session, %4.1f %%" % (name, n, 100.0 * n / sum(v for _, v in rows)))
            return subprocess.call(["callgrind_annotate", out])
        seen = counts(program, out)
    with open(EXPECTED) as f:
        expected = json.load(f)
    if "--record" in argv:
        expected.update(versions())
        expected[section] = seen
        with open(EXPECTED, "w") as f:
            json.dump(expected, f, indent=2)
            f.write("\n")
    failed = False
    for name, n in seen.items():
        was = expected.get(section, {}).get(name)
        if was is None:
            sys.exit("instructions: %s is not in %s of %s" % (name, section, EXPECTED))
        above = n > was * ABOVE
        failed |= above
        print("%-30s %7d instructions each, recorded %7d (%+.1f %%)%s" % (name, n, was, 100.0 * n / was - 100, " ABOVE +5 %" if above else ""))
    for key, value in versions().items():
        if failed and value != expected.get(key):
            print("note: recorded with %s %s, this is %s" % (key, expected.get(key), value))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
