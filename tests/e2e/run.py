"""Runs the end-to-end tests: each lab once, in it every case for every address family.

Flow:   ./dev test and ./dev e2e call this; e2e.tally reads the result file.
Keeps:  after every case both daemons are the processes they were before it, unless the case is there to kill them.
"""
import argparse
import json
import os
import random
import signal
import sys
import time
import traceback

from lab.netns import LabError

from . import (cases_bad, cases_cli, cases_integrity, cases_kill, cases_lab, cases_mta, cases_net, cases_policy, cases_relay, cases_stacks,
               cases_tls, cases_vlan)
from .harness import VARIANTS, Bench, Case, Failed, Skipped, Test
from .smtp import Closed, Malformed


# importing them registered their cases
MODULES = (cases_policy, cases_relay, cases_mta, cases_net, cases_tls, cases_lab, cases_cli, cases_integrity, cases_stacks, cases_vlan, cases_bad, cases_kill)
ORDER = [module.__name__ for module in MODULES]


class OutOfTime(Exception):
    pass


def _alarm(*_):
    raise OutOfTime


def runs(names, variants):
    """(variant, [(name, case, family)]) of what is asked for."""
    for variant in variants:
        rows = []
        for c in sorted(Case.registry, key=lambda c: ORDER.index(c.function.__module__)):
            if variant not in c.variants:
                continue
            for family in c.families:
                name = "%s%s: %s" % (variant, " IPv%d" % family if family else "", c.title)
                if not names or any(word in name for word in names):
                    rows.append((name, c, family))
        if rows:
            yield variant, rows


def one(bench, c, family, options):
    """(result, reason, notes)"""
    test = Test(bench, family, options.seed, options.sessions)
    before = bench.starts()
    signal.alarm(c.limit_s)
    try:
        c.function(test)
        signal.alarm(0)
        if not c.restarts:
            after = bench.starts()
            if after != before:
                return "FAIL", "a daemon died: starts %s, before %s%s" % (after, before, bench.lab.tails()), test.notes
        if bench.sink.errors:
            errors, bench.sink.errors = bench.sink.errors, []
            return "FAIL", "the sink saw: %s" % "; ".join(errors[:3]), test.notes
        return "OK", "", test.notes
    except Skipped as reason:
        return "SKIP", str(reason), test.notes
    except OutOfTime:
        return "FAIL", "not done within %d s: %s" % (c.limit_s, "".join(traceback.format_exc().splitlines(True)[-8:])), test.notes
    except (Failed, Closed, Malformed, LabError) as reason:
        where = traceback.extract_tb(reason.__traceback__)
        line = next((f for f in reversed(where) if "cases_" in f.filename), where[-1])
        return "FAIL", "%s (%s:%d)" % (reason, os.path.basename(line.filename), line.lineno), test.notes
    except Exception:
        return "FAIL", traceback.format_exc(), test.notes
    finally:
        signal.alarm(0)


def crashes(bench):
    """What a sanitizer or a check of our own wrote while the lab was up."""
    found = []
    for service in ("control", "dataplane"):
        try:
            with open(bench.lab.path("log", service + ".out"), errors="replace") as f:
                text = f.read()
        except OSError:
            continue
        for sign in ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "BUG:", "WARNING: ThreadSanitizer"):
            at = text.find(sign)
            if at >= 0:
                found.append("%s: %s" % (service, text[max(0, at - 200):at + 3000]))
    return found


def main(argv):
    parser = argparse.ArgumentParser(prog="./dev e2e")
    parser.add_argument("names", nargs="*", help="only cases whose name contains one of these")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--json", help="write the results there")
    parser.add_argument("--variant", action="append", choices=sorted(VARIANTS))
    parser.add_argument("--lab", default="e2e", metavar="NAME", help="the labs' names begin so: another run beside this one needs another (%(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--sessions", type=int, default=0, help="random sessions of the bad-input cases (0: each case's own number)")
    parser.add_argument("--keep", action="store_true", help="leave the lab up after a failure")
    options = parser.parse_args(argv)
    os.umask(0o022)
    wanted = list(runs(options.names, options.variant or list(VARIANTS)))
    if options.list:
        for _, rows in wanted:
            for name, _, _ in rows:
                print(name)
        return 0
    signal.signal(signal.SIGALRM, _alarm)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print("e2e: seed %d" % options.seed, flush=True)
    results = []

    def record(name, result, reason, notes=(), seconds=0.0):
        results.append({"name": name, "result": result, "reason": reason.strip()[:4000], "seconds": round(seconds, 2)})
        print("%-4s %6.1f s  %s%s%s" % (result, seconds, name, "".join("; " + n for n in notes),
                                         ": " + reason.strip() if reason else ""), flush=True)

    for variant, rows in wanted:
        bench = Bench(variant, options.lab)
        started = time.monotonic()
        try:
            bench.up()
        except (LabError, OSError) as error:
            for name, _, _ in rows:
                record(name, "FAIL", "the lab did not come up: %s" % error if name == rows[0][0] else "the lab did not come up")
            continue
        print("e2e: lab %s is up after %.1f s" % (bench.lab.name, time.monotonic() - started), flush=True)
        bad = False
        try:
            for name, c, family in rows:
                started = time.monotonic()
                result, reason, notes = one(bench, c, family, options)
                record(name, result, reason, notes, time.monotonic() - started)
                bad = bad or result == "FAIL"
                if result == "FAIL" and not c.restarts:
                    try:
                        bench.lab.wait_ready(wait_s=10)     # let a later case start from a lab that serves
                    except LabError as error:
                        print("e2e: the lab does not serve any more: %s" % error, flush=True)
            found = crashes(bench)
            record("%s: no sanitizer and no check of ours complained" % variant, "FAIL" if found else "OK", "\n".join(found))
            bad = bad or bool(found)
        finally:
            if options.keep and bad:
                bench.lab.outlive()
            else:
                left = bench.down()
                record("%s: lab down leaves nothing behind" % variant, "FAIL" if left else "OK", ", ".join(left))
    failed = [r for r in results if r["result"] == "FAIL"]
    if options.json:
        with open(options.json, "w") as f:
            json.dump(results, f, indent=1)
    print("e2e: %d passed, %d failed, %d skipped" % (
        sum(r["result"] == "OK" for r in results), len(failed), sum(r["result"] == "SKIP" for r in results)))
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
