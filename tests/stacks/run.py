"""./dev stacks: other people's stacks against ours.

Flow:   one lab a part -> its checks, everything captured -> tshark judges what was captured -> table, JSON, exit status
Keeps:  a check that could not be made is a failure, never silence; every attack ends by itself, and the whole after --limit-s; labs are
        taken down.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import time

from e2e.smtp import Closed, Malformed
from lab.labs import TOP
from lab.netns import LabError

from . import judge, matrix, os_scan, others, report, throughput
from .bench import Bench
from .result import Result

PARTS = ("linux", "lwip", "nmap", "toolkit", "floods", "throughput")


def say(text):
    print("stacks: %7.1f s  %s" % (time.monotonic() - say.start, text), flush=True)


say.start = time.monotonic()


class TimeIsUp(Exception):
    pass


def on_alarm(*_):
    raise TimeIsUp()


class Run:
    def __init__(self, options):
        self.options, self.results, self.parts = options, [], {}
        self.folder = options.captures
        os.makedirs(self.folder, exist_ok=True)

    def take(self, rows):
        for result in rows:
            self.results.append(result)
            say(result.line())

    def part(self, name):
        """One part to its end; whatever keeps it from its checks is a check that failed."""
        first, started, load = len(self.results), time.monotonic(), os.getloadavg()
        try:
            getattr(self, name)()
        except TimeIsUp:
            self.take([Result("the part '%s'" % name, "not done within the %d s of the whole" % self.options.limit_s, time.monotonic() - started)])
        except (LabError, Closed, Malformed, OSError, subprocess.SubprocessError) as error:
            self.take([Result("the part '%s'" % name, "%s: %s" % (type(error).__name__, error), time.monotonic() - started)])
        done = self.results[first:]
        self.parts[name] = dict(checks=len(done), failed=sum(not r.ok for r in done), took_s=round(time.monotonic() - started, 1),
                                load=round(load[0], 1), load_after=round(os.getloadavg()[0], 1))
        return done

    def bench(self, part, **how):
        return Bench(self.options.name + part, **how)

    def captured(self, bench, label, kind, rows, *ends):
        """The rows, and what tshark says of the packets that crossed the wires meanwhile."""
        path = os.path.join(self.folder, label)
        with bench.capture(path, *ends):
            self.take(rows)
        if "0 packets dropped by kernel" not in bench.captured.replace("\n", " "):
            say("%s: the capture has holes: %s" % (label, " ".join(bench.captured.split())))
        for role, _ in ends or (("client", ""), ("mta", "")):
            started = time.monotonic()
            packets, found, bad = judge.judge("%s-%s.pcap" % (path, role), kind)
            why = "; ".join(bad) or ("nothing was captured" if packets == 0 else "")
            self.take([Result("tshark: %s, at the %s" % (label, role), why, time.monotonic() - started, packets=packets, found=found)])
            if not why and not self.options.keep_captures:
                os.unlink("%s-%s.pcap" % (path, role))

    # --- parts

    def linux(self):
        for mtu in matrix.MTUS:
            with self.bench("linux%d" % mtu, mtu=mtu) as bench:
                for loss in (0, matrix.LOSS_PERCENT):
                    self.captured(bench, "linux-%d-%s" % (mtu, "lossy" if loss else "clean"), "lossy" if loss else "clean",
                                  matrix.run(bench, (loss,)))

    def lwip(self):
        with self.bench("lwip") as bench:
            self.captured(bench, "lwip-clean", "clean", others.lwip(bench, (0,)))
            self.captured(bench, "lwip-lossy", "lossy", others.lwip(bench, (20, 50)))

    def nmap(self):
        with self.bench("nmap") as bench:
            self.take(os_scan.run_scans(bench))

    def toolkit(self):
        with self.bench("toolkit", build=self.sanitized()) as bench:
            self.captured(bench, "toolkit", "hostile", others.toolkit(bench, self.options.seconds_each))

    def floods(self):
        with self.bench("floods") as bench:
            self.take(others.floods(bench, self.options.flood_s, self.options.rate))
        with self.bench("floodsan", build=self.sanitized()) as bench:
            self.captured(bench, "floods", "hostile", others.floods(bench, 3, 2000, least=10))

    def throughput(self):
        with self.bench("wire", wired=True) as bench:
            self.take(throughput.run(bench, self.options.pairs))

    def sanitized(self):
        build = os.path.join(TOP, "build-san")
        if not os.path.exists(os.path.join(build, "dataplane", "greyline-dataplane")):
            raise LabError("%s is not built: attacks are to meet a sanitized build" % build)
        return build


def main(argv):
    parser = argparse.ArgumentParser(prog="./dev stacks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="of " + ", ".join(PARTS) + " (all)")
    parser.add_argument("--json", metavar="FILE", default=os.path.join(TOP, "build", "stacks.json"), help="results go there (%(default)s)")
    parser.add_argument("--write", action="store_true", help="keep the results in docs/stacks.md; only of a run of all parts")
    parser.add_argument("--limit-s", type=int, default=3600, help="seconds for the whole: what is not done by then has failed (%(default)s)")
    parser.add_argument("--captures", default=os.path.join(TOP, "build", "stacks"), help="packets of parts that failed stay there")
    parser.add_argument("--keep-captures", action="store_true", help="also those in which all is explained")
    parser.add_argument("--name", default="st", help="how the labs' names begin")
    parser.add_argument("--pairs", type=int, default=3, help="of the throughput part (%(default)s)")
    parser.add_argument("--flood-s", type=int, default=10, help="seconds of each flood (%(default)s)")
    parser.add_argument("--rate", type=int, default=20000, help="spoofed frames a second (%(default)s)")
    parser.add_argument("--seconds-each", type=int, default=4, help="of each tool of ipv6toolkit (%(default)s)")
    options = parser.parse_args(argv)
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error("no part %s; there are %s" % (", ".join(sorted(unknown)), ", ".join(PARTS)))
    if options.write and set(options.parts) not in (set(), set(PARTS)):
        parser.error("--write keeps what all parts say; leave the parts out")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(options.limit_s)
    os.umask(0o022)
    all_of_it = Run(options)
    by_part = {}
    for part in PARTS:
        if part not in (options.parts or PARTS):
            continue
        if time.monotonic() - say.start < options.limit_s:
            by_part[part] = all_of_it.part(part)
        else:
            by_part[part] = [Result("the part '%s'" % part, "not begun within the %d s of the whole" % options.limit_s, 0)]
            all_of_it.take(by_part[part])
            all_of_it.parts[part] = dict(checks=1, failed=1, took_s=0, load=0, load_after=0)
    signal.alarm(0)
    results = all_of_it.results
    failed = [r for r in results if not r.ok]
    outcome = dict(date=time.strftime("%Y-%m-%d"), kernel=os.uname().release, took_s=round(time.monotonic() - say.start), parts=all_of_it.parts,
                   results=[dict(part=part, **r.data()) for part in by_part for r in by_part[part]])
    with open(options.json, "w") as f:
        json.dump(outcome, f, indent=1)
    print("\nstacks: %d checks in %.0f s" % (len(results), time.monotonic() - say.start))
    for r in results:
        print("  " + r.line())
    print()
    for part, of in all_of_it.parts.items():
        print("  %-4s %7.1f s  %s: %d of %d checks, load %.1f to %.1f" % (
            "FAIL" if of["failed"] else "OK", of["took_s"], part, of["checks"] - of["failed"], of["checks"], of["load"], of["load_after"]))
    print("stacks: %d passed, %d failed; %s" % (len(results) - len(failed), len(failed), options.json))
    if options.write:
        report.write(outcome)
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
