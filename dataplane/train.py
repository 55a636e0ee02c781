#!/usr/bin/env python3
"""Lays the data plane out by a profile of itself at its work: runs the core that counts itself, hands its counts to the compiler.

Usage: train.py PROGRAM PROFILE_DIR HEADER

PROGRAM is bench/instructions over a core compiled with -fprofile-generate, PROFILE_DIR where it was told to leave its counts (*.gcda) and where
the compiler looks for them afterwards. Each run is of a fixed seed and in virtual time, so the same sources give the same counts and the same program.
HEADER tells how the program was laid out. Whatever goes wrong costs the layout and nothing else: the counts are removed, the core is built plain,
and HEADER and a line here say why. HEADER is written only when it changes, for the whole core depends on it.
"""
import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

SESSIONS = "400"
TIME_MAX_S = 120  # of one run, which takes a second or less
# each template the gate counts, and segments of a long message
RUNS = ("--slots 32", "--slots 1", "--slots 32 --template listed", "--slots 32 --template denied", "--flood 4096", "--flood 4096 --no-timestamps",
        "--slots 32 --template data --message 10240", "--slots 8 --sessions 16 --template data --message 200000")


ADDR_NO_RANDOMIZE = 0x0040000  # <sys/personality.h>


def same_addresses():
    """In the child: the compiler has bits of addresses counted, too, so they are to be the same in each run (of the stack, below the program's name
    and environment, as well). Where that may not be, they are not."""
    ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE)


class Failure(Exception):
    """No counts, and why."""


def run(program, counts, arguments):
    """One run; its counts are added to those in the folder, where the program goes by a name of its own."""
    name = os.path.join(counts, "counted")
    try:
        if not os.path.lexists(name):
            os.symlink(program, name)
        done = subprocess.run([name, "--sessions", SESSIONS] + arguments.split(), capture_output=True, text=True, timeout=TIME_MAX_S,
                              preexec_fn=same_addresses, env={"GCOV_PREFIX": counts, "LC_ALL": "C"})
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Failure("training with '%s' did not end: %s" % (arguments, e)) from e
    if done.returncode:
        raise Failure("training with '%s' failed: status %d %s" % (arguments, done.returncode, done.stderr.strip()[-200:]))


def train(program, profile_dir):
    """The counts of all runs go to profile_dir. Their digest."""
    with tempfile.TemporaryDirectory(prefix="greyline-train-") as counts:
        for arguments in RUNS:
            run(program, counts, arguments)
        folder = counts + os.path.abspath(profile_dir)  # where GCOV_PREFIX leaves them
        names = sorted(n for n in os.listdir(folder) if n.endswith(".gcda")) if os.path.isdir(folder) else []
        if not names:
            raise Failure("the runs left no counts")
        digest = hashlib.sha256()
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                digest.update(name.encode() + b"\0" + f.read())
        for name in names:
            shutil.copyfile(os.path.join(folder, name), os.path.join(profile_dir, name))
    return digest.hexdigest()[:12]


def forget(profile_dir):
    """Counts of another time, which the compiler would take for those of now."""
    for name in os.listdir(profile_dir):
        if name.endswith(".gcda"):
            os.unlink(os.path.join(profile_dir, name))


def main(argv):
    if len(argv) != 3:
        sys.exit(__doc__)
    program, profile_dir, header = argv
    os.makedirs(profile_dir, exist_ok=True)
    forget(profile_dir)
    try:
        layout = "trained: " + train(os.path.abspath(program), profile_dir)
    except (Failure, OSError) as e:
        why = " ".join("".join(c if " " <= c <= "~" and c not in '"\\?' else " " for c in str(e)).split())[:300]
        print("greyline: the data plane is built plain, not laid out by a profile: " + why)
        forget(profile_dir)
        layout = "plain: " + why
    text = '#define GREYLINE_LAYOUT "%s"\n' % layout
    if os.path.exists(header):
        with open(header) as f:
            if f.read() == text:
                return 0
    with open(header, "w") as f:
        f.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
