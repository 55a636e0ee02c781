"""./dev bench: runs benchmarks by name, shows a table, writes JSON.

Usage: ./dev bench                       the micro benchmarks
       ./dev bench --list                every benchmark and every run, one on each line
       ./dev bench NAME... [OPTION...]   a benchmark (all its runs), or runs of it as BENCHMARK/RUN
       ./dev bench reference             all that docs/performance.md answers for, on a quiet machine within a quarter of an hour: figures in
                                         build/reference.json, pictures beside it (root: peers too)

  --out FILE      the JSON goes there instead of standard output (the table goes to standard error)
  --pairs N       pairs of phases, gateway and echo (20)
  --phase-ms N    length of a phase (1000)
  --seconds N     length of a measurement where there are no pairs (10)
  --rounds N      how often a restart is timed (3)
  --entries N     records a restart has (10,000,000)
  --build DIR     programs of another build folder (build)
  --pictures DIR  SVG pictures of the result, too; 'pictures FILE... DIR' makes them of a kept one

bench/README.md says how each figure is taken.
"""
import argparse
import difflib
import json
import os
import shutil
import signal
import sys
import tempfile
import time

_TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [_TOP, os.path.join(_TOP, "tests")]  # tests/lab has the namespaces and roots
sys.dont_write_bytecode = True

from bench import common, micro_run, pictures  # noqa: E402
from bench.instructions import gate  # noqa: E402
from bench.control import run as control  # noqa: E402
from bench.dns import run as dns  # noqa: E402
from bench.idle import run as idle  # noqa: E402
from bench.load import run as load  # noqa: E402
from bench.load import where  # noqa: E402
from bench.peers import run as peers  # noqa: E402
from bench.tls import flood as tls_flood  # noqa: E402
from bench.tls import run as tls  # noqa: E402


class Benchmark:
    """what: one line; runs: name -> one line; measure(names, options) -> figures by run; rows(figures) -> table; root: needs it; together: all
    runs in one call, because they alternate."""

    def __init__(self, what, runs, measure, rows, root=False, together=False):
        self.what, self.runs, self.measure, self.rows, self.root, self.together = what, runs, measure, rows, root, together


BENCHMARKS = {
    "micro": Benchmark("parts alone: verdict table, hashes, parsers, lists, LMDB, snapshot; 1 to N threads", micro_run.RUNS, micro_run.run,
                       micro_run.rows),
    "load": Benchmark("the gateway over memif next to a bare echo", {n: "%s; DNS %s" % (r[0], r[3]) for n, r in load.RUNS.items()},
                      lambda names, o: load.run(names, o.build, o.pairs, o.phase_ms, {"huge_pages": "false"} if o.plain_pages else None), load.rows),
    "where": Benchmark("where the worker's cycles go over memif, by layer and function (perf)", where.RUNS, where.run, where.rows, together=True),
    "idle": Benchmark("memory of idle sessions, up to a million, and what others pay for them", idle.RUNS, idle.run, idle.rows),
    "peers": Benchmark("Greyline next to what a user would pick instead, over veth", peers.RUNS, peers.run, peers.rows, root=True, together=True),
    "dns": Benchmark("control's resolver next to dnsperf, on one nsd", dns.RUNS, dns.run, dns.rows, root=True, together=True),
    "tls": Benchmark("handshakes on one lcore next to the same calls of OpenSSL in memory", tls.RUNS, tls.run, tls.rows),
    "tls-flood": Benchmark("plain sessions beside a flood of handshakes, next to the same alone", {n: r[0] for n, r in tls_flood.RUNS.items()}, tls_flood.run, tls_flood.rows),
    "control": Benchmark("control under a flood of new triplets, and restarts with many entries", control.RUNS, control.run, control.rows),
}

# What the goals are about, run by run, with fewer repetitions: each run of load costs its pairs and some ten seconds.
REFERENCE = ["load/" + run for run in ("greylist", "greylist-bursty", "dns-cached", "dns-asked", "dns-dead", "open", "syn-spoofed", "syn-denied", "flood",
                                       "overload", "data", "data-large")] + ["control/flood", "control/restart"]
REFERENCE_OPTIONS = {"pairs": 8, "seconds": 10, "rounds": 1}
DEFAULTS = {"pairs": 20, "seconds": 10, "rounds": 3}
QUIET_LOAD = 0.7


def instructions(build):
    """Instructions each, by the gate's rows; nothing where valgrind is missing."""
    program = os.path.join(build, "bench", "instructions", "instructions")
    if not shutil.which("valgrind") or not os.path.exists(program):
        return {"error": "no valgrind, or a build without bench/instructions"}
    with tempfile.TemporaryDirectory() as folder:
        return {name: {"instructions_each": n} for name, n in gate.counts(program, os.path.join(folder, "callgrind")).items()}


def memif_next_to_peers(benchmarks):
    """Sessions a second of the worker's time over memif next to the peers' per second of CPU on veth: another wire, so a figure of its own.
    None where one of both is missing."""
    ours = benchmarks.get("load", {}).get("greylist", {}).get("units_a_worker_second")
    theirs = {name: f["sessions_a_cpu_second"]["median"] for name, f in benchmarks.get("peers", {}).items()
              if not name.startswith("greyline") and not name.endswith("-messages") and "sessions_a_cpu_second" in f}
    if not ours or not ours["median"] or not theirs:
        return None
    return {"wire": "ours memif, theirs veth with the kernel's share", "sessions_a_worker_second": ours["median"],
            "times": {name: round(ours["median"] / rate, 1) for name, rate in theirs.items()}}


def as_reference(options):
    """The names and options of a reference run in place of 'reference'; what was given on the command line stays."""
    options.names = REFERENCE + ([] if os.geteuid() else ["peers"])
    for name, value in REFERENCE_OPTIONS.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.out = options.out or os.path.join(options.build, "reference.json")
    options.pictures = options.pictures or options.build
    if os.getloadavg()[0] > QUIET_LOAD:
        common.say("the load average is %.1f: other work runs here, and cycles will hold it" % os.getloadavg()[0])
    if os.geteuid():
        common.say("not root: without the peers")


def listing():
    for name, b in BENCHMARKS.items():
        print("%-28s %s%s" % (name, b.what, " (root)" if b.root else ""))
        for run, what in b.runs.items():
            print("  %-26s %s" % (name + "/" + run, what))
    print("%-28s %s" % ("instructions", "instructions a session by callgrind, exact; the gate of ./dev test"))
    print("%-28s %s" % ("reference", "instructions, and: " + " ".join(REFERENCE) + " peers"))


def chosen(words):
    """{benchmark: [runs]} of names and NAME/RUN; BenchError for what there is not."""
    picked = {}
    for word in words:
        if word in ("instructions", "reference"):
            raise common.BenchError("'%s' is run alone: ./dev bench %s" % (word, word))
        name, _, run = word.partition("/")
        if name not in BENCHMARKS and name in load.RUNS and not run:
            name, run = "load", name
        if name not in BENCHMARKS or (run and run not in BENCHMARKS[name].runs):
            like = difflib.get_close_matches(word, [n for b in BENCHMARKS for n in [b] + ["%s/%s" % (b, r) for r in BENCHMARKS[b].runs]], 1)
            raise common.BenchError("no benchmark '%s'%s: ./dev bench --list shows them" % (word, " ('%s'?)" % like[0] if like else ""))
        runs = picked.setdefault(name, [])
        runs.extend(r for r in ([run] if run else BENCHMARKS[name].runs) if r not in runs)
    return picked


def whole(least, most):
    """A type of argparse: a whole number within bounds."""
    def number(text):
        if not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError("'%s' is no whole number from %d to %d" % (text, least, most))
        return int(text)
    return number


def check_folders(options):
    """Before anything is measured: where it is read from and written to."""
    if not os.path.isdir(options.build):
        raise common.BenchError("--build %s: there is no such folder" % options.build)
    if options.out and not os.path.isdir(os.path.dirname(os.path.abspath(options.out))):
        raise common.BenchError("--out %s: there is no such folder" % options.out)


def main(argv):
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    parser.add_argument("--pairs", type=whole(1, 1000), help=argparse.SUPPRESS)
    parser.add_argument("--phase-ms", type=whole(50, 3600000), default=1000, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=whole(1, 3600), help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=whole(1, 100), help=argparse.SUPPRESS)
    parser.add_argument("--entries", type=whole(1000, 1000000000), default=10000000, help=argparse.SUPPRESS)
    parser.add_argument("--build", default=os.path.join(common.TOP, "build"), help=argparse.SUPPRESS)
    parser.add_argument("--plain-pages", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--pictures", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.build = os.path.abspath(options.build)
    if options.list:
        listing()
        return 0
    if options.names[:1] == ["pictures"]:
        return pictures.main(options.names[1:])
    check_folders(options)
    result = {"machine": common.machine(), "benchmarks": {}}
    began = time.monotonic()
    if options.names == ["reference"]:
        as_reference(options)
        result["benchmarks"]["instructions"] = instructions(options.build)
    for name, value in DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    failed = False
    for name, runs in chosen(options.names or ["micro"]).items():
        b = BENCHMARKS[name]
        if b.root and os.geteuid():
            raise common.BenchError("%s needs root: sudo ./dev bench %s" % (name, name))
        figures = result["benchmarks"].setdefault(name, {})
        for part in [runs] if b.together else [[run] for run in runs]:
            figures.update(b.measure(part, options))
            if options.out:  # what was measured is kept, whatever happens to the rest
                common.write(result, options.out, quiet=True)
        failed |= any("error" in f for f in figures.values())
        print("\n%s: %s\n%s\n" % (name, b.what, common.table(b.rows(figures))), file=sys.stderr, flush=True)
    compared = memif_next_to_peers(result["benchmarks"])
    if compared:
        result["memif_next_to_peers"] = compared
        print("over memif, another wire than the peers' veth: %s sessions a second of the worker's time: %s\n" % (
            common.number(compared["sessions_a_worker_second"]), ", ".join("%.1f times %s" % (t, n) for n, t in compared["times"].items())), file=sys.stderr)
    result["seconds"] = round(time.monotonic() - began)
    result["machine"]["load_average_after"] = [round(x, 1) for x in os.getloadavg()]
    common.write(result, options.out)
    if options.pictures:
        pictures.draw(result, options.pictures)
    return 1 if failed else 0


def ended(*_):
    raise KeyboardInterrupt  # so that everything is taken down on the way out


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, ended)
    try:
        sys.exit(main(sys.argv[1:]))
    except common.BenchError as error:
        print("bench: %s" % error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
