#!/usr/bin/env python3
"""Cycles of a session in the simulated worker: programs against each other, in turns.

Usage: compare.py [--rounds N] PROGRAM [PROGRAM...] [-- ARGUMENT...]

Each round runs every program once with the ARGUMENTs (those of instructions: --sessions 20000 --slots 32 where none are given), the order turned
by one from round to round. Printed: the least, the quartiles and the median of each, and the median of the ratios to the first program within a round.
On a machine with other work the least and the ratios say more than the medians.
"""
import json
import os
import statistics
import subprocess
import sys

ARGUMENTS = ["--sessions", "20000", "--slots", "32"]
ROUNDS = 15


def cycles(program, arguments):
    done = subprocess.run([program] + arguments, capture_output=True, text=True)
    if done.returncode:
        sys.exit("compare: %s %s failed: %s" % (program, " ".join(arguments), done.stderr.strip()))
    seen = json.loads(done.stdout)
    return seen.get("tsc_cycles_a_session") or seen["tsc_cycles_a_syn"]


def main(argv):
    arguments = ARGUMENTS
    if "--" in argv:
        arguments = argv[argv.index("--") + 1:]
        argv = argv[:argv.index("--")]
    rounds = ROUNDS
    if argv[:1] == ["--rounds"]:
        rounds = int(argv[1])
        argv = argv[2:]
    if not argv or rounds < 2:
        sys.exit(__doc__)
    seen = [[] for _ in argv]
    for r in range(rounds):
        for i in range(len(argv)):
            which = (r + i) % len(argv)
            seen[which].append(cycles(os.path.abspath(argv[which]), arguments))
    for program, values in zip(argv, seen):
        p25, p50, p75 = statistics.quantiles(values, n=4)
        ratio = statistics.median(v / first for v, first in zip(values, seen[0]))
        print("%-60s least %7d  p25 %7d  median %7d  p75 %7d  of the first %.3f" % (program, min(values), p25, p50, p75, ratio))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
